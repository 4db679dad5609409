"""What `jaxreason evaluate` and `jaxreason sample` do with next-token language models."""

from typing import Any

from jaxreason.errors import InputError


def evaluate_language(arguments: Any) -> None:
    """Answers prompts of a file, and prints what they earn.

    Args:
        arguments: of `cli.evaluate`.

    Raises:
        InputError: no prompts, or an argument outside its range.
        FailureError: no run there.
    """
    if arguments.prompts is None:
        raise InputError(
            f"{arguments.run} is a language model; give it prompts with answers: --prompts FILE "
            "(`jaxreason benchmark` asks published benchmarks)"
        )
    from rich.console import Console
    from rich.progress import Progress

    from jaxreason.data.language import DataConfig
    from jaxreason.evaluation.answers import AnswerSettings, evaluate_answers
    from jaxreason.evaluation.documents import dump
    from jaxreason.training.cache import enable_compilation_cache

    temperatures = arguments.temperature
    settings = AnswerSettings(
        DataConfig(arguments.prompts, kind="prompts", suffix=arguments.suffix or ""),
        count=arguments.count,
        temperatures=(0.0,) if temperatures is None else temperatures,
        samples=arguments.samples or 1,
        max_new_tokens=arguments.max_new_tokens or 512,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        template=arguments.template or "chat",
    )
    enable_compilation_cache()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("loading the weights", total=None)
        document, path = evaluate_answers(
            arguments.run,
            settings,
            name=arguments.name,
            step=arguments.checkpoint,
            on_progress=lambda label, done, total: progress.update(
                bar, description=label, completed=done, total=total
            ),
        )
    if arguments.json:
        print(dump(document), end="")
        return
    out = Console()
    out.print(answer_table(document))
    kept = f"; written to {path}" if path else ""
    out.print(
        f"{document['prompts']} prompts; with one standard error{kept}", style="dim", soft_wrap=True
    )


def answer_table(document: Any) -> Any:
    """The numbers of every temperature."""
    from rich.table import Table

    table = Table(
        *("temperature", "reward", "correct, %", "answered, %", "finished, %", "tokens"),
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for result in document["results"]:
        means, error = result["means"], result["standard_error"]
        doubt = "" if error is None else f" ± {error:.3f}"
        shares = [f"{100 * means[name]:.1f}" for name in ("correct", "answered", "finished")]
        reward = f"{result['reward']:.3f}{doubt}"
        table.add_row(f"{result['temperature']:g}", reward, *shares, f"{means['tokens']:.0f}")
    return table


def answer(arguments: Any) -> str:
    """The answer of a next-token language model to a prompt.

    Args:
        arguments: of `cli.sample`.

    Raises:
        InputError: no tokenizer, or a prompt that its template refuses.
    """
    from jaxreason.evaluation.answers import answer_text
    from jaxreason.training.pretrained import tokenizer_of
    from jaxreason.training.runs import load_run

    folder = arguments.tokenizer or arguments.run
    tokenizer = tokenizer_of(folder)
    if tokenizer is None:
        raise InputError(f"{folder} has no tokenizer.json; --tokenizer FOLDER names one that has")
    return answer_text(
        load_run(arguments.run, arguments.checkpoint),
        tokenizer,
        arguments.prompt,
        chat=not arguments.plain,
        max_new_tokens=arguments.length,
        temperature=arguments.temperature,
        seed=arguments.seed,
    )

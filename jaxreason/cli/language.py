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
    import jax
    import numpy as np

    from jaxreason.sampling import autoregressive
    from jaxreason.training.language.completions import completion_texts
    from jaxreason.training.pretrained import tokenizer_of
    from jaxreason.training.prompt_rows import padded
    from jaxreason.training.runs import load_run

    folder = arguments.tokenizer or arguments.run
    tokenizer = tokenizer_of(folder)
    if tokenizer is None:
        raise InputError(f"{folder} has no tokenizer.json; --tokenizer FOLDER names one that has")
    if arguments.plain:
        ids = tokenizer.encode(arguments.prompt, special=True)
    else:
        turn = {"role": "user", "content": arguments.prompt}
        ids = tokenizer.encode_chat([turn], prompt=True)
    if not len(ids):
        raise InputError("prompt is empty; expected text")
    loaded = load_run(arguments.run, arguments.checkpoint, merge=False)
    sampler = autoregressive(
        loaded.model,
        max_new_tokens=arguments.length,
        eos=tokenizer.stops_for("plain" if arguments.plain else "chat"),
        pad=tokenizer.pad,
        temperature=arguments.temperature,
    )
    tokens = np.full((1, padded(len(ids))), tokenizer.pad, np.int32)
    tokens[0, : len(ids)] = ids
    prompts: Any = {"tokens": tokens, "lengths": np.array([len(ids)], np.int32)}
    completions = sampler(loaded.params, prompts, jax.random.key(arguments.seed))
    return completion_texts(completions, tokenizer)[0]

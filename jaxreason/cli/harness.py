"""`jaxreason harness`: tasks of EleutherAI's lm-evaluation-harness on a run or a folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import refuse_several
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path, local_path

HELP = "tasks of lm-evaluation-harness on a run or a published folder"


@dataclass(frozen=True)
class Harness:
    """Run tasks of EleutherAI's lm-evaluation-harness (extra `evaluation`) and print its table.

    Next-token models give exact log-probabilities, by the rules of the harness's own `hf` models;
    LLaDA and MMaDA give evidence bounds, and decode by diffusion.
    """

    run: Annotated[str, tyro.conf.Positional]
    """run directory, or a published folder with a tokenizer"""
    tasks: tuple[str, ...]
    """names that the harness knows, or YAML files of tasks"""
    limit: float | None = None
    """examples per task, below 1 a share of them; all by default"""
    num_fewshot: int | None = None
    """solved examples before each question; what the task says by default"""
    apply_chat_template: bool = False
    """ask by the model's chat template"""
    system_instruction: str | None = None
    """what the system says in it"""
    fewshot_as_multiturn: bool = True
    """solved examples are turns of the conversation, with a chat template"""
    gen_kwargs: str | None = None
    """settings of generation over those of the tasks, as in "temperature=0.6,top_p=0.95" """
    model_args: str = ""
    """further settings, as in "max_length=4096,draws=128,block=32"; see HarnessSettings and
    DiffusionSettings"""
    batch_size: int = 8
    """rows of a batch"""
    fsdp: int = 0
    """devices to spread the model over, -1 for all; 0 takes the first one"""
    checkpoint: int | None = None
    """step of the checkpoint; the newest by default"""
    tokenizer: str | None = None
    """folder of the tokenizer, where the run has none"""
    seed: int = 0
    """of sampling, of masks and of the choice of solved examples"""
    bootstrap: int = 100_000
    """resamplings for the errors of metrics that need them"""
    out: str | None = None
    """JSON file for all that the harness reports"""
    samples: bool = False
    """put every question and answer into it, too"""

    def __post_init__(self) -> None:
        if self.limit is not None:
            share = 0 < self.limit < 1
            if not share and not (self.limit >= 1 and self.limit.is_integer()):
                raise InputError(
                    f"limit is {self.limit:g}; expected a number of examples, or a share of them "
                    "above 0 and below 1"
                )
        least = {"num_fewshot": 0, "batch_size": 1, "fsdp": -1, "checkpoint": 0, "bootstrap": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise InputError(f"{name} is {value}; expected at least {bound}")


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: an argument outside its range, an unknown task, the extra is not installed.
        FailureError: no run there, or a damaged one.
    """
    arguments = parse_options(Harness, argv, "jaxreason harness")
    if not arguments.tasks:
        raise InputError("tasks is empty; expected names or YAML files")
    if arguments.samples and arguments.out is None:
        raise InputError("samples go into a file; give its name by --out")
    if not (as_path(arguments.run) / "config.json").is_file():
        raise FailureError(f"{arguments.run} is no run or model folder: it has no config.json")
    out = None if arguments.out is None else local_path(arguments.out, "out")
    refuse_several("harness")
    from jaxreason.evaluation.harness_lm import evaluate_tasks
    from jaxreason.training.cache import enable_compilation_cache
    from jaxreason.training.files import write_atomically

    enable_compilation_cache()
    results, table = evaluate_tasks(
        _model_args(arguments),
        arguments.tasks,
        batch_size=arguments.batch_size,
        limit=arguments.limit,
        num_fewshot=arguments.num_fewshot,
        apply_chat_template=arguments.apply_chat_template,
        system_instruction=arguments.system_instruction,
        fewshot_as_multiturn=arguments.fewshot_as_multiturn,
        gen_kwargs=arguments.gen_kwargs,
        bootstrap_iters=arguments.bootstrap,
        log_samples=arguments.samples,
        seed=arguments.seed,
    )
    if out is not None:
        text = json.dumps(results, indent=2, default=str, ensure_ascii=False) + "\n"
        write_atomically(out, text.encode())
    print(table)


def _model_args(arguments: Harness) -> dict[str, Any]:
    from jaxreason.evaluation.harness_lm import parse_settings

    given = {
        "run": arguments.run,
        "step": arguments.checkpoint,
        "tokenizer": arguments.tokenizer,
        "fsdp": arguments.fsdp,
        "seed": arguments.seed,
    }
    more = parse_settings(arguments.model_args)
    for name in more:
        if name in given or name == "batch_size":
            raise InputError(f"model_args has {name!r}, which is an option of its own")
    return {name: value for name, value in given.items() if value is not None} | more

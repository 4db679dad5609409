"""`jaxreason train FILE`: train what an experiment file describes, or go on with it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError

HELP = "train a model as an experiment file describes"

_USAGE = f"""usage: jaxreason train FILE [--run DIRECTORY] [--FIELD VALUE ...]

{HELP}; the same command continues an interrupted run.

  FILE             a Python file that defines `experiment`
  --run DIRECTORY  where config.json, metrics.jsonl and checkpoints/ go
                   (default: runs/ and FILE's name)
  --FIELD VALUE    any field of the experiment, such as --train.steps 100;
                   `jaxreason train FILE --help` lists them

exit codes: 0 done, 1 failure, 2 bad input, 42 stopped by SIGTERM with a checkpoint saved
"""


def run(argv: Sequence[str]) -> int:
    """Runs the subcommand; returns 0, or 42 if SIGTERM stopped the run and it can continue.

    Raises:
        InputError: bad experiment file or field.
        FailureError: the run could not go on.
    """
    arguments = list(argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    if arguments[0].startswith("-"):
        raise InputError(f"expected an experiment file before {arguments[0]!r}: train FILE ...")
    file = Path(arguments.pop(0))
    directory = _take(arguments, "--run") or f"runs/{file.stem}"

    # JAX takes a second to import; usage errors above do not wait for it.
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache
    from jaxreason.training.preemption import Preempted
    from jaxreason.training.runs import load_experiment

    default = load_experiment(file)
    experiment = parse_options(type(default), arguments, f"jaxreason train {file}", default)
    enable_compilation_cache()
    keep_freed_memory()
    try:
        experiment.run(directory)
    except Preempted as stop:
        print(f"jaxreason: {stop}; run the same command again to go on", file=sys.stderr)
        return stop.exit_code
    return 0


def _take(arguments: list[str], option: str) -> str | None:
    """Remove `option VALUE` or `option=VALUE` from the arguments and return the value."""
    for i, argument in enumerate(arguments):
        if argument == option:
            if i + 1 == len(arguments):
                raise InputError(f"{option} needs a value")
            arguments.pop(i)
            return arguments.pop(i)
        if argument.startswith(option + "="):
            return arguments.pop(i).split("=", 1)[1]
    return None

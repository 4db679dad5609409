"""`jaxreason train FILE`: train what an experiment file describes, or go on with it."""

import sys
from collections.abc import Sequence

from jaxreason.cli.options import parse_options
from jaxreason.cli.processes import PROCESSES_HELP, run_processes, take, take_process_flags
from jaxreason.errors import InputError, Preempted
from jaxreason.paths import local_path

HELP = "train a model as an experiment file describes"

_USAGE = f"""usage: jaxreason train FILE [--run DIRECTORY] [--FIELD VALUE ...]

{HELP}; the same command continues an interrupted run.

  FILE             a Python file that defines `experiment`
  --run DIRECTORY  where config.json, metrics.jsonl and checkpoints/ go
                   (default: runs/ and FILE's name)
  --FIELD VALUE    any field of the experiment, such as --train.steps 100;
                   `jaxreason train FILE --help` lists them

{PROCESSES_HELP}"""


def run(argv: Sequence[str]) -> int:
    """Runs the subcommand; returns 0, or 42 if SIGTERM stopped the run and it can continue.

    Several processes that do not end with one of these end here, with their own exit code.

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
    file = local_path(arguments.pop(0), "experiment file")
    directory = take(arguments, "--run") or f"runs/{file.stem}"
    flags = take_process_flags(arguments)

    # JAX takes a second to import; usage errors above do not wait for it.
    import jax

    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache
    from jaxreason.training.runs import load_experiment

    default = load_experiment(file)
    experiment = parse_options(type(default), arguments, f"jaxreason train {file}", default)
    enable_compilation_cache()
    keep_freed_memory()

    def work() -> int:
        try:
            experiment.run(directory)
        except Preempted as stop:
            if jax.process_index() == 0:
                print(f"jaxreason: {stop}; run the same command again to go on", file=sys.stderr)
            return stop.exit_code
        return 0

    return run_processes(flags, work)

"""The flags with which a subcommand becomes one of several processes, and how they end."""

from collections.abc import Callable

from jaxreason.errors import InputError

FLAGS = ("--coordinator", "--processes", "--process")

PROCESSES_HELP = """several processes: the same command on every host. On Slurm, Open MPI,
Cloud TPU, SkyPilot and in indexed Kubernetes jobs they find each other; `jaxreason launch` starts
some on this machine; elsewhere each gets

  --coordinator HOST:PORT  of process 0, any free port (or JAXREASON_COORDINATOR)
  --processes N            how many there are (or JAXREASON_PROCESSES); 1 turns detection off
  --process I              which one this is, from 0 (or JAXREASON_PROCESS)

exit codes, the same on all processes:
  0   done
  1   failure
  2   bad input
  42  stopped by SIGTERM (to any one process) with a checkpoint saved: start again; with
      several processes further ones change nothing, and one that comes before the first
      step (while a base is read, completions are drawn) counts when that is reached
  43  a step hung, or another process died; stacks are on standard error and in
      RUN/stacks/process-<i>.txt, the last checkpoint is kept: start again
"""


def take(arguments: list[str], option: str) -> str | None:
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


def take_process_flags(arguments: list[str]) -> tuple[str | None, int | None, int | None]:
    """Remove the three flags from the arguments.

    Raises:
        InputError: a flag without a value, or with one that is no number.
    """
    coordinator, *counts = (take(arguments, flag) for flag in FLAGS)
    numbers = []
    for flag, value in zip(FLAGS[1:], counts, strict=True):
        try:
            numbers.append(None if value is None else int(value))
        except ValueError:
            raise InputError(f"{flag} is {value!r}; expected a whole number") from None
    return coordinator, numbers[0], numbers[1]


def refuse_several(subcommand: str) -> None:
    """Stop a subcommand that works in one process from doing its work several times over.

    Raises:
        InputError: it was started as several processes.
    """
    from jaxreason.sharding.clusters import find_layout

    layout = find_layout(timeout=60)
    if layout is not None:
        raise InputError(
            f"`jaxreason {subcommand}` works in one process, and this is one of {layout.processes} "
            f"(found through {layout.found}): start it once, with JAXREASON_PROCESSES=1"
        )


def run_processes(flags: tuple[str | None, int | None, int | None], work: Callable[[], int]) -> int:
    """Join the processes of the run, if there are several, and do this one's part.

    Args:
        flags: what `take_process_flags` gave.
        work: returns 0, or 42 if it was stopped.

    Raises:
        InputError: flags that do not fit; on a single process whatever `work` raises.
        FailureError: the others were not found.
    """
    from jaxreason.sharding.start import start_processes
    from jaxreason.sharding.together import run_together

    start_processes(*flags)
    return run_together(work)

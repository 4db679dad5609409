"""The two kinds of error a user can meet, and being told to stop; everything else is a bug."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """What was asked for cannot be done: names the field, its value and what was expected.

    The command line prints it as one sentence and exits with code 2.
    """


class FailureError(RuntimeError):
    """The world did not cooperate (missing or corrupt file, full disk, diverged run).

    The command line prints it as one sentence and exits with code 1.
    """


PREEMPTED_EXIT_CODE = 42


class Preempted(Exception):
    """The run was asked to stop, saved a checkpoint and can be continued by the same command.

    The command line exits with `exit_code` = 42, which launchers take as "start me again".
    """

    exit_code = PREEMPTED_EXIT_CODE


def describe(error: BaseException) -> tuple[int, str]:
    """(exit code, sentence) of an error that ends a command."""
    if isinstance(error, KeyboardInterrupt):
        return 130, "interrupted"
    if isinstance(error, Preempted):
        return error.exit_code, str(error)
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, FailureError):
        return 1, str(error)
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return 1, f"{error.filename}: {reason}" if error.filename else reason
    return 1, f"internal error, {type(error).__name__}: {error} (--debug shows where)"


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the file system refuses inside into a FailureError about `what`."""
    try:
        yield
    except Exception as error:
        text = str(error)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in text or "quota exceeded" in text.lower():
            raise FailureError(
                f"the disk is full: {what} could not be written; free space and run the same "
                "command again, earlier checkpoints are intact"
            ) from error
        if isinstance(error, OSError):
            raise FailureError(f"{what} could not be written: {text}") from error
        raise

"""The two kinds of error a user can meet; everything else is a bug."""

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

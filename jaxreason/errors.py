"""The two kinds of error a user can meet; everything else is a bug."""


class InputError(ValueError):
    """What was asked for cannot be done: names the field, its value and what was expected.

    The command line prints it as one sentence and exits with code 2.
    """


class FailureError(RuntimeError):
    """The world did not cooperate (missing or corrupt file, full disk, diverged run).

    The command line prints it as one sentence and exits with code 1.
    """

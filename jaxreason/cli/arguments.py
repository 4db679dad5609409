"""Options that a subcommand takes for itself, before the rest is read as fields."""

from jaxreason.errors import InputError


def take(arguments: list[str], option: str) -> str | None:
    """Remove `option VALUE` or `option=VALUE` from the arguments and return the value.

    Raises:
        InputError: the value is missing.
    """
    for i, argument in enumerate(arguments):
        if argument == option:
            if i + 1 == len(arguments):
                raise InputError(f"{option} needs a value")
            arguments.pop(i)
            return arguments.pop(i)
        if argument.startswith(option + "="):
            return arguments.pop(i).split("=", 1)[1]
    return None


def take_flag(arguments: list[str], option: str) -> bool:
    """Remove `option` from the arguments; whether it was there."""
    if option not in arguments:
        return False
    arguments.remove(option)
    return True

"""An argument parser whose complaints are errors of ours, with the closest match."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from jaxreason.cli.main import suggestion
from jaxreason.errors import InputError


class Parser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` that raises `InputError` and takes no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As in argparse; an unknown option is named with the closest known one."""
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].split("=")[0]
            raise InputError(f"unknown argument {word!r}{suggestion(word, self._options())}")
        return known

    def _options(self) -> list[str]:
        """The options of this parser and of its subcommands."""
        options = [option for action in self._actions for option in action.option_strings]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                options += [o for parser in action.choices.values() for o in parser._options()]
        return options

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print before it exits."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            known = [name.strip(" '") for name in choice[2].split(",")]
            message += suggestion(choice[1], known)
        raise InputError(f"{self.prog}: {message}")

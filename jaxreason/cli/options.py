"""Command-line options from dataclasses, with errors in one sentence."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

from jaxreason.errors import InputError


def parse_options(kind: Any, arguments: Sequence[str], program: str, default: Any = None) -> Any:
    """An instance of the dataclass `kind`, its fields set by `--field value` (nested: `--a.b`).

    Args:
        kind: a dataclass type, whose docstring is the help text.
        arguments: the words after the program's name.
        program: what to call it in the help text.
        default: the instance whose fields stand where no option is given.

    Raises:
        InputError: unknown option, missing value, value of the wrong type, or a value that the
            dataclass refuses.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    if default is not None and not any(re.fullmatch(r"[\w.-]+:[\w.-]+", a) for a in arguments):
        # A part that may be absent is what it is by default, so that its fields are options like
        # others (`--lora.rank 8`); to choose, `lora:none` and `lora:lora-config` come last.
        options["config"] = (tyro.conf.AvoidSubcommands,)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(arguments), prog=program, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(_sentence(said.getvalue(), kind.__name__, program)) from None


def _sentence(box: str, kind: str, program: str) -> str:
    """What tyro says in a frame, without the frame and the pointer to the help text."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [re.sub(r"[─-╿]|-{3,}", " ", line).strip() for line in text.splitlines()]
    words = " ".join(line for line in lines if line)
    words = re.sub(r"^(Value|Parsing) error\s+", "", words)
    words = re.sub(r"(Argument helptext|For full helptext).*$", "", words)
    words = re.sub(r"^Unrecognized options (?=Unrecognized)|^Missing argument ", "", words)
    unknown = r"^Unrecognized options: ([^\s,=]+).*?(?= Perhaps|$)"
    words = re.sub(unknown, r"unknown argument '\1'", words)
    words = re.sub(r" Perhaps you meant: (--[\w.-]+).*$", r"; did you mean '\1'?", words)
    words = re.sub(r"^Invalid choice (?=invalid choice)", "", words)
    words = re.sub(r"^Error parsing ([\w.-]+): ", r"\1: ", words)
    words = re.sub(r"invalid literal for int.*?: ('.*')", r"expected a whole number, got \1", words)
    words = re.sub(r"^Required options Missing from [^:]*: (\S+).*$", r"\1 is missing", words)
    words = re.sub(r"could not convert string to float: ", "expected a number, got ", words)
    words = words.removeprefix(f"{kind}: ")  # what the dataclass itself refuses
    return f"{' '.join(words.split()).rstrip('.')} (`{program} --help` lists all options)"

"""The `jaxreason` command: finds the subcommand, runs it, turns errors into one sentence.

Every subcommand is a module of this package with one function, `run(argv) -> int | None`; it is
imported only when called, so `jaxreason --help` is instant and `jaxreason mazes` never loads JAX.
A new subcommand is one more entry in `SUBCOMMANDS`.

Exit codes: 0 success, 1 failure (`FailureError`, `OSError`, a bug), 2 usage or bad input
(`InputError`), 42 stopped by SIGTERM with a checkpoint saved, 43 a step hung or another process
died (both: start again), 130 interrupted, 141 the reader of our output went away.
"""

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Sequence

from jaxreason import __version__
from jaxreason.errors import InputError, describe

SUBCOMMANDS = {
    "mazes": "generate, validate and draw mazes with A* traces",
    "data": "prepare and inspect data sets",
    "train": "train a model as an experiment file describes",
    "preflight": "compile a run for TPUs that need not be here: does it fit",
    "launch": "several processes of a command on this machine, started again when they stop",
    "evaluate": "sample from a run's model and judge every completion",
    "benchmark": "GSM8K, MATH500, MMLU and their like, by published prompts and settings",
    "harness": "tasks of lm-evaluation-harness on a run or a published folder",
    "answer": "an image-text model answers VQAv2, POPE, GQA or MME",
    "score": "official scores of such answers, of GenEval, CLIP score, ImageReward",
    "sample": "single answers of a masked-diffusion run, parts filled in again too",
    "report": "write the report of a run: tables, curves, pictures",
    "compare": "compare two checkpoints: update sparsity and rank",
    "overlap": "how much of their updates runs from one base share, against null models",
    "study": "compare runs with the base they started from, and with each other",
    "delta": "make or apply a lossless sparse difference of two checkpoints",
    "convert": "make a run of published weights, or publish a run's",
}


def help_text() -> str:
    """The text of `jaxreason --help`."""
    lines = ["usage: jaxreason [--debug] SUBCOMMAND ...", "", "subcommands:"]
    lines += [f"  {name:<10}{summary}" for name, summary in SUBCOMMANDS.items()]
    lines += [
        "",
        "options:",
        "  --debug   show the traceback of an error",
        "  --version show the version",
        "",
        "`jaxreason SUBCOMMAND --help` explains one of them.",
    ]
    return "\n".join(lines)


def suggestion(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` with the closest known word, or "" when none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"jaxreason {__version__}")
        return 0
    name = arguments[0]
    if name not in SUBCOMMANDS:
        kind = "option" if name.startswith("-") else "subcommand"
        known = ("--debug", "--help", "--version") if kind == "option" else SUBCOMMANDS
        remedy = suggestion(name, known) or f"; expected one of {', '.join(known)}"
        raise InputError(f"unknown {kind} {name!r}{remedy}")
    module = importlib.import_module(f"jaxreason.cli.{name}")
    return module.run(arguments[1:]) or 0


def _drop_output() -> None:
    """Drops what standard output can no longer take.

    The interpreter flushes it once more on exit; with the reader gone or the disk full that flush
    would print a traceback of its own.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; `--debug` may stand anywhere in it.

    Args:
        argv: arguments without the program's name; `sys.argv[1:]` by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return 141
    except (Exception, KeyboardInterrupt) as error:
        _drop_output()
        if debug:
            traceback.print_exc()
        code, message = describe(error)
    print(f"jaxreason: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

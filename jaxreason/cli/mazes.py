"""`jaxreason mazes`: generate, validate and show mazes."""

import argparse
import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from jaxreason.cli.arguments import Parser
from jaxreason.errors import InputError
from jaxreason.mazes.formats import Record, parse_json_line, to_text
from jaxreason.mazes.generators import GENERATORS, SPLITS, MazeConfig, generate, generate_solved
from jaxreason.mazes.validation import LEVELS

HELP = "generate, validate and draw mazes with A* traces"
TRACES = ("astar", "none", "searchformer")


def _parser() -> Parser:
    parser = Parser(prog="jaxreason mazes", description=HELP)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser("generate", help="write problems with traces as JSON lines")
    make.add_argument("--generator", choices=GENERATORS, default="wilson")
    make.add_argument("--size", type=int, default=30, help="columns and rows, walls included")
    make.add_argument("--count", type=int, default=1)
    make.add_argument("--seed", type=int, default=42)
    make.add_argument("--split", choices=SPLITS, default="train")
    make.add_argument(
        "--trace",
        choices=TRACES,
        default="astar",
        help="the authors' search, the problem alone, or Searchformer's search and format",
    )
    make.add_argument(
        "--paper-compatible",
        action="store_true",
        help="the bytes of the authors' own generator (Stechly et al. 2025), quirks included",
    )
    check = actions.add_parser("validate", help="judge the responses of JSON lines")
    _add_source(check)
    check.add_argument("--level", choices=LEVELS, default="reference")
    check.add_argument("--json", action="store_true", help="print the summary as JSON")
    show = actions.add_parser("show", help="draw a maze with its search, plan and first error")
    _add_source(show)
    show.add_argument("--index", type=int, default=0, help="which line, counted from 0")
    show.add_argument("--level", choices=LEVELS, default="reference")
    show.add_argument("--out", type=Path, help="write a .png picture or a .gif animation instead")
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="JSON lines {'text': ...}; - for stdin")
    parser.add_argument(
        "--size",
        type=int,
        help="columns and rows, where a line does not say them (default: the smallest that fits)",
    )


def run(argv: Sequence[str]) -> int:
    """Runs `jaxreason mazes ...`; see `HELP`.

    Raises:
        InputError: bad arguments, or a malformed line (named by its number).
        OSError: a file that cannot be read or written.
    """
    arguments = _parser().parse_args(argv)
    if arguments.action == "generate":
        _generate(arguments)
    elif arguments.action == "validate":
        _validate(arguments)
    else:
        _show(arguments)
    return 0


def _generate(arguments: argparse.Namespace) -> None:
    if arguments.count < 0:
        raise InputError(f"--count is {arguments.count}; expected at least 0")
    lines = _paper_lines(arguments) if arguments.paper_compatible else _lines(arguments)
    for line in lines:
        sys.stdout.write(line)


def _paper_lines(arguments: argparse.Namespace) -> Iterator[str]:
    from jaxreason.mazes.paper_stream import paper_lines

    if arguments.trace != "astar":
        raise InputError(
            f"--trace {arguments.trace} does not go with --paper-compatible, "
            "whose lines always hold the authors' A* trace; leave one of them out"
        )
    stream = paper_lines(arguments.generator, arguments.size, arguments.seed, arguments.split)
    return itertools.islice(stream, arguments.count)


def _lines(arguments: argparse.Namespace) -> Iterator[str]:
    size, seed, split = arguments.size, arguments.seed, arguments.split
    config = MazeConfig(arguments.generator, size, size)
    for index in range(arguments.count):
        if arguments.trace == "none":
            text = to_text(generate(config, seed, index, split), None)
        elif arguments.trace == "astar":
            text = to_text(*generate_solved(config, seed, index, split))
        else:
            solved = generate_solved(config, seed, index, split, "searchformer")
            text = to_text(*solved, "searchformer")
        # The sides cannot be told from the text where the last row and column are free.
        record = {"text": text, "idx": index, "generator": config.generator}
        record |= {"seed": seed, "split": split, "rows": size, "cols": size}
        yield json.dumps(record) + "\n"


@contextlib.contextmanager
def _opened(name: str) -> Iterator[TextIO]:
    if name == "-":
        yield sys.stdin
        return
    if Path(name).is_dir():
        raise InputError(f"FILE {name!r} is a folder; expected a file of JSON lines")
    if not Path(name).exists():
        raise InputError(f"FILE {name!r} does not exist")
    with open(name, encoding="utf-8") as source:
        yield source


def _filled_lines(name: str) -> Iterator[tuple[int, str]]:
    """(line number, line) for every line that is not blank."""
    with _opened(name) as source:
        try:
            yield from ((number, line) for number, line in enumerate(source, 1) if line.strip())
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is no UTF-8 text: {error}") from error


def _record(line: str, number: int, size: int | None) -> Record:
    try:
        return parse_json_line(line, size, size)
    except InputError as error:
        raise InputError(f"line {number}: {error}") from error


def _validate(arguments: argparse.Namespace) -> None:
    from jaxreason.cli.mazes_summary import Summary, print_summary
    from jaxreason.mazes.validation import judge

    summary = Summary(arguments.level)
    for number, line in _filled_lines(arguments.file):
        record = _record(line, number, arguments.size)
        # Searchformer's trace opens with a create of the start, which only its own search gives.
        tie_break = "searchformer" if record.format == "searchformer" else "paper"
        summary.add(judge(record.problem, record.response, tie_break))
    if summary.count == 0:
        raise InputError(f"{arguments.file} holds no lines to validate")
    if arguments.json:
        print(json.dumps(summary.as_dict(), indent=2))
    else:
        print_summary(summary)


def _show(arguments: argparse.Namespace) -> None:
    from jaxreason.mazes.scene import scene_of

    if arguments.index < 0:
        raise InputError(f"--index is {arguments.index}; expected at least 0")
    out = arguments.out
    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise InputError(f"--out {str(out)!r} has no known ending; expected .png or .gif")
    lines = list(itertools.islice(_filled_lines(arguments.file), arguments.index + 1))
    if len(lines) <= arguments.index:
        raise InputError(
            f"--index is {arguments.index}, but {arguments.file} has {len(lines)} lines"
        )
    number, line = lines[-1]
    record = _record(line, number, arguments.size)
    problem = dataclasses.replace(record.problem, generator=json.loads(line).get("generator", ""))
    scene = scene_of(problem, record.response, arguments.level)
    if out is None:
        from jaxreason.mazes.terminal import print_scene

        print_scene(scene)
        return
    from jaxreason.mazes.pictures import animate_scene, draw_scene

    (animate_scene if out.suffix.lower() == ".gif" else draw_scene)(scene, out)
    print(f"wrote {out}")

"""`jaxreason mazes`: generate, validate and show mazes."""

import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

import tyro

from jaxreason.cli.main import suggestion
from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError
from jaxreason.mazes.formats import Record, parse_json_line, to_text
from jaxreason.mazes.generators import GENERATORS, SPLITS, MazeConfig, generate, generate_solved
from jaxreason.mazes.validation import LEVELS
from jaxreason.paths import as_path

HELP = "generate, validate and draw mazes with A* traces"
TRACES = ("astar", "none", "searchformer")

_Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True)
class Generate:
    """Write problems with traces as JSON lines to standard output."""

    generator: str = "wilson"
    """wilson, kruskal, dfs, drunkards_walk, searchformer or free_space"""
    size: int = 30
    """columns and rows, walls included"""
    count: int = 1
    """problems; the first ones of a longer file are the same"""
    seed: int = 42
    """of the data set"""
    split: str = "train"
    """train, validation or test; disjoint by content"""
    trace: str = "astar"
    """astar (the authors' search), none, or searchformer (its search and text format)"""
    paper_compatible: tyro.conf.FlagCreatePairsOff[bool] = False
    """the bytes of the authors' own generator (Stechly et al. 2025), quirks included"""

    def __post_init__(self) -> None:
        _choose("generator", self.generator, GENERATORS)
        _choose("split", self.split, SPLITS)
        _choose("trace", self.trace, TRACES)
        if self.count < 0:
            raise InputError(f"--count is {self.count}; expected at least 0")
        if self.paper_compatible and self.trace != "astar":
            raise InputError(
                f"--trace {self.trace} does not go with --paper-compatible, whose lines always "
                "hold the authors' A* trace; leave one of them out"
            )


@dataclass(frozen=True)
class Validate:
    """Judge the responses of JSON lines: plans and traces."""

    file: _Source
    """JSON lines {'text': ...}; - for standard input"""
    size: int | None = None
    """columns and rows; by default what a line says (rows, cols), or the smallest that fits"""
    level: str = "reference"
    """reference (the authors' rules), strict or exact"""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """print the summary as JSON"""

    def __post_init__(self) -> None:
        _choose("level", self.level, LEVELS)


@dataclass(frozen=True)
class Show:
    """Draw a maze with its search, plan and first error: in the terminal, or as a picture."""

    file: _Source
    """JSON lines {'text': ...}; - for standard input"""
    index: int = 0
    """which line, counted from 0, blank ones left out"""
    size: int | None = None
    """columns and rows; by default what a line says (rows, cols), or the smallest that fits"""
    level: str = "reference"
    """reference (the authors' rules), strict or exact"""
    out: str | None = None
    """write a .png picture or a .gif animation of the search instead"""

    def __post_init__(self) -> None:
        _choose("level", self.level, LEVELS)
        if self.index < 0:
            raise InputError(f"--index is {self.index}; expected at least 0")
        if self.out is not None and as_path(self.out).suffix.lower() not in (".png", ".gif"):
            raise InputError(f"--out {str(self.out)!r} has no known ending; expected .png or .gif")


def _choose(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        remedy = suggestion(value, known) or f"; expected one of {', '.join(known)}"
        raise InputError(f"--{option} {value!r} is unknown{remedy}")


def run(argv: Sequence[str]) -> int:
    """Runs `jaxreason mazes ...`; see `HELP`.

    Raises:
        InputError: bad arguments, or a malformed line (named by its number).
        FailureError: a picture that cannot be written.
        OSError: a file that cannot be read.
    """
    actions: dict[str, tuple[type, Callable[[Any], None]]] = {
        "generate": (Generate, _generate),
        "validate": (Validate, _validate),
        "show": (Show, _show),
    }
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<10}{kind.__doc__}" for name, (kind, _) in actions.items()]
        print(f"usage: jaxreason mazes ACTION ...\n\n{HELP}\n\nactions:", *lines, sep="\n")
        print("\n`jaxreason mazes ACTION --help` explains one of them.")
        return 0 if argv else 2
    if argv[0] not in actions:
        remedy = suggestion(argv[0], actions) or f"; expected one of {', '.join(actions)}"
        raise InputError(f"unknown action {argv[0]!r}{remedy}")
    kind, act = actions[argv[0]]
    act(parse_options(kind, argv[1:], f"jaxreason mazes {argv[0]}"))
    return 0


def _generate(arguments: Generate) -> None:
    for line in _paper_lines(arguments) if arguments.paper_compatible else _lines(arguments):
        sys.stdout.write(line)


def _paper_lines(arguments: Generate) -> Iterator[str]:
    from jaxreason.mazes.paper_stream import paper_lines

    stream = paper_lines(arguments.generator, arguments.size, arguments.seed, arguments.split)
    return itertools.islice(stream, arguments.count)


def _lines(arguments: Generate) -> Iterator[str]:
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
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    path = as_path(name)
    if path.is_dir():
        raise InputError(f"FILE {name!r} is a folder; expected a file of JSON lines")
    if not path.exists():
        raise InputError(f"FILE {name!r} does not exist")
    with path.open("rb") as source:
        yield source


def _filled_lines(name: str) -> Iterator[tuple[int, str]]:
    """(line number, line) for every line that is not blank."""
    with _opened(name) as source:
        for number, line in enumerate(source, 1):
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise InputError(f"{name}, line {number}: no UTF-8 text ({error})") from error
            if text.strip():
                yield number, text


def _record(line: str, number: int, size: int | None) -> Record:
    try:
        return parse_json_line(line, size, size)
    except InputError as error:
        raise InputError(f"line {number}: {error}") from error


def _response(record: Record) -> tuple[list[str], str]:
    """(the words to judge, the tie-break to compare with) of a record of either format."""
    if record.format == "paper":
        return record.response, "paper"
    # Searchformer's format has no delimiters, so none can be missing.
    return [*record.trace_tokens, "solution", *record.plan_tokens, "end"], "searchformer"


def _validate(arguments: Validate) -> None:
    from jaxreason.cli.mazes_summary import Summary, print_summary
    from jaxreason.mazes.validation import judge

    summary = Summary(arguments.level)
    for number, line in _filled_lines(arguments.file):
        record = _record(line, number, arguments.size)
        try:
            summary.add(judge(record.problem, *_response(record)))
        except InputError as error:
            raise InputError(f"line {number}: {error}") from error
    if summary.count == 0:
        raise InputError(f"{arguments.file} holds no lines to validate")
    if arguments.json:
        print(json.dumps(summary.as_dict(), indent=2))
    else:
        print_summary(summary)


def _show(arguments: Show) -> None:
    from jaxreason.mazes.scene import scene_of

    lines = list(itertools.islice(_filled_lines(arguments.file), arguments.index + 1))
    if len(lines) <= arguments.index:
        raise InputError(
            f"--index is {arguments.index}, but {arguments.file} has {len(lines)} lines"
        )
    number, line = lines[-1]
    record = _record(line, number, arguments.size)
    problem = dataclasses.replace(record.problem, generator=json.loads(line).get("generator", ""))
    response, tie_break = _response(record)
    scene = scene_of(problem, response, arguments.level, tie_break=tie_break)
    if arguments.out is None:
        from jaxreason.mazes.terminal import print_scene

        print_scene(scene)
        return
    from jaxreason.mazes.pictures import animate_scene, draw_scene

    animated = as_path(arguments.out).suffix.lower() == ".gif"
    (animate_scene if animated else draw_scene)(scene, arguments.out)
    print(f"wrote {arguments.out}")

"""One line of text per problem: the paper's format and Searchformer's, written and read.

    paper         query start X Y goal X Y {wall X Y}* reasoning {event}* solution {plan X Y}* end
    searchformer  start X Y goal X Y {wall X Y}* {event}* {plan X Y}*

An event is `create X Y cG cH` or `close X Y cG cH`; its costs may be missing (dropped traces).
Walls are listed row by row. Sources: Stechly et al. 2025 (arXiv 2505.13775), Lehnert et al. 2024
(arXiv 2402.14083).
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.astar import Trace
from jaxreason.mazes.problem import Problem

FORMATS = ("paper", "searchformer")
KINDS = ("create", "close")

_NUMBER = re.compile(r"[0-9]{1,7}", re.ASCII)
_COST = re.compile(r"c[0-9]{1,7}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Record:
    """One line, read back.

    Attributes:
        problem: its maze.
        trace_tokens: the words between prompt and plan.
        plan_tokens: the words from `solution` (paper) or the first `plan` (searchformer) on, `end`
            included; empty if the line stops before.
        format: "paper" or "searchformer".
    """

    problem: Problem
    trace_tokens: list[str]
    plan_tokens: list[str]
    format: str = "paper"

    @property
    def response(self) -> list[str]:
        """All words after the prompt, as a model would write them."""
        return [*self.trace_tokens, *self.plan_tokens]

    @property
    def trace(self) -> Trace:
        """Events and plan as arrays; InputError where the words are no events or no plan."""
        plan = [word for word in self.plan_tokens if word not in ("solution", "end")]
        return Trace(read_events(self.trace_tokens), read_plan(plan))


def prompt_text(problem: Problem, format: str = "paper") -> str:
    """The problem alone; in the paper's format up to and including `reasoning`."""
    _check_format(format)
    (start_x, start_y), (goal_x, goal_y) = problem.start, problem.goal
    words = [f"start {start_x} {start_y} goal {goal_x} {goal_y}"]
    wall_y, wall_x = np.nonzero(~problem.floor)
    words += [f"wall {x} {y}" for x, y in zip(wall_x.tolist(), wall_y.tolist(), strict=True)]
    if format == "paper":
        words = ["query", *words, "reasoning"]
    return " ".join(words)


def to_text(problem: Problem, trace: Trace | None, format: str = "paper") -> str:
    """The line of a problem and its trace; with None, of the problem alone.

    A trace without events gives the solution-only line; an event whose costs are -1 is written
    without them.
    """
    prompt = prompt_text(problem, format)
    if trace is None:
        return prompt
    words = [prompt]
    for kind, x, y, g, h in trace.events.tolist():
        costs = f" c{g} c{h}" if g >= 0 else ""
        words.append(f"{KINDS[kind]} {x} {y}{costs}")
    plan = [f"plan {x} {y}" for x, y in trace.plan.tolist()]
    words += ["solution", *plan, "end"] if format == "paper" else plan
    return " ".join(words)


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise InputError(f"format {format!r} is unknown; expected one of {', '.join(FORMATS)}")


class _Reader:
    """Walks over the words of a line and names the place of what is wrong."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.place = 0

    def peek(self) -> str | None:
        return self.words[self.place] if self.place < len(self.words) else None

    def expect(self, word: str) -> None:
        if self.peek() != word:
            raise InputError(f"word {self.place} is {self._found()}; expected {word!r}")
        self.place += 1

    def number(self) -> int:
        word = self.peek()
        if word is None or not _NUMBER.fullmatch(word):
            raise InputError(f"word {self.place} is {self._found()}; expected a coordinate")
        self.place += 1
        return int(word)

    def cost(self) -> int:
        word = self.peek()
        if word is None or not _COST.fullmatch(word):
            raise InputError(f"word {self.place} is {self._found()}; expected a cost such as c12")
        self.place += 1
        return int(word[1:])

    def _found(self) -> str:
        word = self.peek()
        return "missing (the text ends)" if word is None else repr(word)


def _grid_sides(
    cells: list[tuple[int, int]], width: int | None, height: int | None
) -> tuple[int, int]:
    """The sides given, or those of the smallest square that holds all cells."""
    if (width is None) != (height is None):
        raise InputError("width and height go together; give both or neither")
    if width is None or height is None:
        side = 1 + max(max(cell) for cell in cells)
        return side, side
    if width < 1 or height < 1:
        raise InputError(f"width x height is {width}x{height}; expected at least 1x1")
    return width, height


def parse(text: str, width: int | None = None, height: int | None = None) -> Record:
    """Reads a line of either format; what follows the prompt is kept as words, unjudged.

    Args:
        text: the line; `query` at its beginning tells the formats apart.
        width: columns. The text does not say it: without width and height the grid is the smallest
            square that holds start, goal and all walls. For generated mazes that can be too small
            (by a free last row and column), so give the sides where they are known.
        height: rows.

    Raises:
        InputError: malformed prompt (names the word and its place), a cell outside the grid, a
            start or goal on a wall.
    """
    reader = _Reader(text.split())
    format = "paper" if reader.peek() == "query" else "searchformer"
    if format == "paper":
        reader.expect("query")
    reader.expect("start")
    start = (reader.number(), reader.number())
    reader.expect("goal")
    goal = (reader.number(), reader.number())
    walls = []
    while reader.peek() == "wall":
        reader.place += 1
        walls.append((reader.number(), reader.number()))
    if format == "paper":
        reader.expect("reasoning")
    columns, rows = _grid_sides([start, goal, *walls], width, height)
    if columns * rows > 2**24:
        raise InputError(f"the grid would have {columns}x{rows} cells; at most {2**24} are read")
    floor = np.ones((rows, columns), np.bool_)
    for x, y in walls:
        if x >= columns or y >= rows:
            raise InputError(f"wall ({x}, {y}) is outside the {columns}x{rows} grid")
        floor[y, x] = False
    response = reader.words[reader.place :]
    marker = "solution" if format == "paper" else "plan"
    cut = response.index(marker) if marker in response else len(response)
    return Record(Problem(floor, start, goal), response[:cut], response[cut:], format)


def parse_json_line(line: str, width: int | None = None, height: int | None = None) -> Record:
    """Reads one JSON line `{"text": ...}`; its keys `cols` and `rows` give the sides if present.

    Args:
        line: a JSON object with the key `text`.
        width: columns; goes before the line's own `cols`.
        height: rows; goes before the line's own `rows`.

    Raises:
        InputError: no JSON object, no text in it, or a malformed text.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # malformed, endless digits, endless brackets
        raise InputError(f"the line is no JSON ({error}); expected {{'text': ...}}") from error
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        raise InputError("the line has no string under the key 'text'; expected {'text': ...}")
    sides = {"cols": width, "rows": height}
    for name, given in sides.items():
        value = record.get(name) if given is None else given
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InputError(f"{name} is {value!r}; expected a whole number")
        sides[name] = value
    return parse(record["text"], sides["cols"], sides["rows"])


def read_events(words: list[str]) -> np.ndarray:
    """Events int32 [events, 5] of the words of a trace; missing costs become -1.

    Raises:
        InputError: words that are no events.
    """
    reader = _Reader(words)
    events = []
    while (word := reader.peek()) is not None:
        if word not in KINDS:
            raise InputError(f"word {reader.place} is {word!r}; expected 'create' or 'close'")
        reader.place += 1
        event = [KINDS.index(word), reader.number(), reader.number(), -1, -1]
        if reader.peek() not in (*KINDS, None):
            event[3:] = reader.cost(), reader.cost()
        events.append(event)
    return np.array(events, np.int32).reshape(-1, 5)


def read_plan(words: list[str]) -> np.ndarray:
    """Plan int32 [cells, 2] of the words `{plan X Y}*`; InputError if they are not that."""
    reader = _Reader(words)
    cells = []
    while reader.peek() is not None:
        reader.expect("plan")
        cells.append((reader.number(), reader.number()))
    return np.array(cells, np.int32).reshape(-1, 2)

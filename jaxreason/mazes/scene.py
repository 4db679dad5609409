"""What there is to see of a response: the search in its order, the plan, the first error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxreason.mazes.astar import Trace
from jaxreason.mazes.problem import Cell, Problem
from jaxreason.mazes.validation import TraceVerdict, Verdict, judge

FREE, CREATED, CLOSED = range(3)


@dataclass(frozen=True, eq=False)
class Scene:
    """A maze with what is drawn on it.

    Attributes:
        problem: the maze.
        events: int [events, 5], as in `Trace`; may be wrong, even outside the grid.
        plan: int [cells, 2]; likewise.
        title: one line: which maze.
        verdicts: (good, text) lines: plan and trace, for the caption.
        error_event: event of the first error, -1 if there is none.
        error_cell: where the error is marked, None if nowhere: the cell of that event or the first
            illegal step of the plan.
    """

    problem: Problem
    events: np.ndarray
    plan: np.ndarray
    title: str
    verdicts: tuple[tuple[bool, str], ...] = ()
    error_event: int = -1
    error_cell: Cell | None = None

    def inside(self, x: int, y: int) -> bool:
        """Whether the cell is on the grid."""
        return 0 <= x < self.problem.width and 0 <= y < self.problem.height

    def states(self, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What the first `count` events (default: all) did.

        Returns:
            state int8 [height, width] (`FREE`, `CREATED`, `CLOSED`) and order float [height,
            width], 0 for the first cell closed to 1 for the last of the whole trace.
        """
        state = np.zeros(self.problem.floor.shape, np.int8)
        order = np.zeros(self.problem.floor.shape)
        rank, closes = 0, max(1, int((self.events[:, 0] == 1).sum()) - 1)
        for kind, x, y, _, _ in self.events[:count].tolist():
            if self.inside(x, y) and state[y, x] != CLOSED:
                state[y, x] = CLOSED if kind else CREATED
                order[y, x] = rank / closes
            rank += kind
        return state, order

    def plan_cells(self) -> list[Cell]:
        """The cells of the plan that are on the grid."""
        return [(x, y) for x, y in self.plan.tolist() if self.inside(x, y)]


def _title(problem: Problem) -> str:
    name = str(problem.generator).replace("_", " ") or "maze"
    return f"{name} {problem.width}x{problem.height}"


def _plan_line(verdict: Verdict) -> str:
    plan = verdict.plan
    if plan.valid:
        kind = "shortest" if verdict.optimal else "longer than needed"
        return f"plan valid, {len(plan.cells)} cells, {kind}"
    return f"plan invalid: {plan.error}: {plan.detail}"


def _trace_line(verdict: TraceVerdict) -> str:
    if verdict.first is None:
        return f"trace valid ({verdict.level}), {len(verdict.read.events)} events"
    return f"trace invalid ({verdict.level}): {verdict.first.code}: {verdict.first.detail}"


def scene_from_verdict(verdict: Verdict, level: str = "reference", title: str = "") -> Scene:
    """The scene of a judged response, its trace at that level."""
    trace, plan = verdict.trace(level), verdict.plan
    problem = trace.read.problem
    lines = [(plan.valid, _plan_line(verdict))]
    event, cell = -1, None
    if verdict.has_trace:
        lines.append((trace.valid, _trace_line(trace)))
        if trace.first is not None:
            event = trace.first.event_index
    if 0 <= event < len(trace.read.events):
        cell = tuple(trace.read.events[event, 1:3].tolist())
    elif plan.step >= 0:
        cell = tuple(plan.cells[plan.step].tolist())
    return Scene(
        problem,
        trace.read.events,
        plan.cells,
        title or _title(problem),
        tuple(lines),
        event,
        cell,
    )


def scene_of(
    problem: Problem,
    response: Sequence[str] | str,
    level: str = "reference",
    title: str = "",
    tie_break: str = "paper",
) -> Scene:
    """The scene of a response; arguments as `validate_trace`."""
    return scene_from_verdict(judge(problem, response, tie_break), level, title)


def scene_from_parts(
    problem: Problem,
    trace: Trace | None = None,
    plan: np.ndarray | None = None,
    verdict: Verdict | None = None,
    title: str = "",
) -> Scene:
    """A scene of what is given: a trace or a plan instead of the verdict's, or without one."""
    base = Scene(problem, np.empty((0, 5), np.int64), np.empty((0, 2), np.int64), _title(problem))
    if verdict is not None:
        base = scene_from_verdict(verdict)
    events = base.events if trace is None else trace.events
    cells = base.plan if trace is None else trace.plan
    cells = cells if plan is None else np.asarray(plan).reshape(-1, 2)
    return Scene(
        problem,
        events,
        cells,
        title or base.title,
        base.verdicts,
        base.error_event,
        base.error_cell,
    )

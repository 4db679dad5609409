"""Pictures of solved and failed mazes: what the model searched, its plan, its first error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.evaluation.runs import GENERATOR_LABELS, RunRecord, generators_of, regimes_of
from jaxreason.evaluation.style import Theme, png, styled
from jaxreason.mazes import Problem, judge
from jaxreason.mazes.scene import CLOSED, CREATED, Scene, scene_from_verdict


def read_example(example: dict[str, Any]) -> Problem:
    """The problem of an example of an evaluation document."""
    problem = example["problem"]
    floor = np.array([[cell == "." for cell in row] for row in problem["rows"]], bool)
    return Problem(floor, tuple(problem["start"]), tuple(problem["goal"]), example["generator"])


def choose(run: RunRecord, generators: Sequence[str], most: int = 6) -> list[dict[str, Any]]:
    """A few examples, solved and failed by turns, the training generator's first."""
    examples = run.evaluation["examples"] if run.evaluation is not None else []
    order = {name: place for place, name in enumerate(generators)}
    queues = {
        solved: sorted(
            (e for e in examples if e["solved"] == solved),
            key=lambda e: order.get(e["generator"], len(order)),
        )
        for solved in (True, False)
    }
    chosen: list[dict[str, Any]] = []
    while len(chosen) < most and any(queues.values()):
        for queue in queues.values():
            if queue and len(chosen) < most:
                chosen.append(queue.pop(0))
    return sorted(chosen, key=lambda e: not e["solved"])


def pictures(runs: Sequence[RunRecord], theme: Theme) -> dict[str, bytes]:
    """Label of the first run of each regime to a PNG of its examples, where it has any."""
    generators = generators_of(runs)
    made = {}
    for run, *_ in regimes_of(runs).values():
        chosen = choose(run, generators)
        if chosen:
            made[run.label] = _sheet(chosen, theme)
    return made


def _sheet(examples: Sequence[dict[str, Any]], theme: Theme) -> bytes:
    columns = 3
    rows = -(-len(examples) // columns)
    with styled(theme) as figure_class:
        figure = figure_class(figsize=(10.0, 4.05 * rows), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.12, w_pad=0.06)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, example in zip(panels, examples, strict=False):
            draw_example(axes, example, theme)
        for axes in panels[len(examples) :]:
            axes.set_visible(False)
        return png(figure)


def draw_example(axes: Any, example: dict[str, Any], theme: Theme) -> None:
    """Draws one example: walls, cells closed (darker = later) and created, plan, first error."""
    problem = read_example(example)
    verdict = judge(problem, example["response"])
    scene = scene_from_verdict(verdict)
    axes.imshow(_shades(scene, theme), interpolation="nearest")
    size = 420 / max(problem.width, problem.height)
    cells = scene.plan
    if len(cells):
        axes.plot(
            *np.asarray(cells).T,
            color=theme.plan,
            linewidth=max(1.8, size / 18),
            solid_capstyle="round",
            solid_joinstyle="round",
            alpha=0.9,
        )
    mark = {"markeredgecolor": theme.background, "markeredgewidth": 1.2, "zorder": 4}
    axes.plot(*problem.start, "o", color=theme.start, ms=size / 6 + 5, **mark)
    axes.plot(*problem.goal, "*", color=theme.goal, ms=size / 4 + 8, **mark)
    if scene.error_cell is not None and scene.inside(*scene.error_cell):
        axes.plot(*scene.error_cell, "X", color=theme.error, ms=size / 6 + 6, **mark)
    axes.set_xlim(-0.5, problem.width - 0.5)
    axes.set_ylim(problem.height - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(theme.wall)
    name = GENERATOR_LABELS.get(example["generator"], example["generator"])
    color = theme.start if example["solved"] else theme.error
    axes.set_title(f"{'solved' if example['solved'] else 'failed'}  ·  {name}", color=color)
    axes.set_xlabel(_caption(verdict), fontsize=8, loc="left")


def _caption(verdict: Any) -> str:
    plan = "plan " + ("optimal" if verdict.optimal else "valid, not shortest")
    if verdict.plan.error is not None:
        plan = f"plan: {verdict.plan.error.replace('_', ' ')}"
    if not verdict.has_trace:
        return f"{plan}\nno trace"
    first = verdict.reference.first
    if first is None:
        return f"{plan}\ntrace valid"
    where = f", event {first.event_index + 1}" if first.event_index >= 0 else ""
    return f"{plan}\ntrace: {first.code.replace('_', ' ')}{where}"


def _shades(scene: Scene, theme: Theme) -> np.ndarray:
    """Float [height, width, 3]: each cell's colour."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    state, order = scene.states()
    ramp = LinearSegmentedColormap.from_list("search", theme.search)
    image = np.empty((*state.shape, 3))
    image[:] = to_rgb(theme.free)
    image[state == CREATED] = to_rgb(theme.created)
    image[state == CLOSED] = ramp(order[state == CLOSED])[:, :3]
    image[~scene.problem.floor] = to_rgb(theme.wall)
    return image

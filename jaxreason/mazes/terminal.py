"""A scene in the terminal: two characters a cell, colours as in the pictures, by rich.

Without colours (a pipe, a dumb terminal) the characters alone tell walls, search, plan and error.
"""

from rich.console import Console
from rich.text import Text

from jaxreason.mazes import palette
from jaxreason.mazes.palette import hexadecimal
from jaxreason.mazes.scene import CLOSED, CREATED, Scene

WALL, FREE, OPENED, VISITED, STEP = "██", "  ", "··", "::", "●●"
# `✗` and letters take one column each, so a blank fills the cell.
START, GOAL, ERROR = "S ", "G ", "✗ "


def _cell(scene: Scene, x: int, y: int, state: int, order: float, planned: bool) -> tuple[str, str]:
    """(characters, style) of one cell."""
    if not scene.problem.floor[y, x]:
        text, colour = (WALL, palette.WALL) if not planned else (STEP, palette.PLAN)
        background = palette.WALL
        if state and not planned:
            colour = palette.on_wall(palette.CREATED if state == CREATED else palette.closed(order))
    else:
        text, colour, background = FREE, palette.FAINT_INK, palette.FREE
        if state == CREATED:
            text, background = OPENED, palette.CREATED
        if state == CLOSED:
            text, background = VISITED, palette.closed(order)
        if planned:
            text, colour = STEP, palette.PLAN
    bold = ""
    for name, cell, ink in (
        (START, scene.problem.start, palette.START),
        (GOAL, scene.problem.goal, palette.GOAL),
        (ERROR, scene.error_cell, palette.ERROR),
    ):
        if cell == (x, y):
            text, colour, background, bold = name, palette.FREE, ink, "bold "
    return text, f"{bold}{hexadecimal(colour)} on {hexadecimal(background)}"


def draw(scene: Scene) -> Text:
    """The maze as rich text, one line a row: walls, search (later is darker), plan, error."""
    state, order = scene.states()
    planned = set(scene.plan_cells())
    text = Text(no_wrap=True)
    for y in range(scene.problem.height):
        for x in range(scene.problem.width):
            cell = _cell(scene, x, y, int(state[y, x]), float(order[y, x]), (x, y) in planned)
            text.append(*cell)
        text.append("\n")
    return text


def legend() -> Text:
    """What the characters mean."""
    entries = (
        (START, palette.FREE, palette.START, "start"),
        (GOAL, palette.FREE, palette.GOAL, "goal"),
        (OPENED, palette.FAINT_INK, palette.CREATED, "created"),
        (VISITED, palette.FAINT_INK, palette.closed(0.5), "closed (dark: late)"),
        (STEP, palette.PLAN, palette.FREE, "plan"),
        (ERROR, palette.FREE, palette.ERROR, "first error"),
    )
    text = Text()
    for characters, colour, background, name in entries:
        text.append(characters, f"{hexadecimal(colour)} on {hexadecimal(background)}")
        text.append(f"\u00a0{name}".replace(" ", "\u00a0"))
        text.append("  ")
    return text


def print_scene(scene: Scene, console: Console | None = None) -> None:
    """Prints title, verdicts, maze and legend; the maze is never wrapped."""
    console = console or Console()
    console.print(Text(scene.title, "bold"))
    for good, line in scene.verdicts:
        mark = Text("✓ " if good else "✗ ", hexadecimal(palette.START if good else palette.ERROR))
        console.print(mark + Text(line))
    console.print(draw(scene), soft_wrap=True, end="")
    console.print(legend())

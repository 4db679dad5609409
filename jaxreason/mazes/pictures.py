"""A scene as a PNG picture, or its search as an animated GIF."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreason.errors import FailureError, disk_errors
from jaxreason.mazes import palette
from jaxreason.mazes.astar import Trace
from jaxreason.mazes.problem import Cell, Problem
from jaxreason.mazes.scene import CREATED, FREE, Scene, scene_from_parts
from jaxreason.mazes.validation import Verdict
from jaxreason.paths import as_path, is_local, put_whole

SIDE = 720
"""Pixels of the longer side of the maze itself, about."""

SMOOTHING = 3
MARGIN, LINE = 28, 24

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

LEGEND: tuple[tuple[str, palette.Colour], ...] = (
    ("start", palette.START),
    ("goal", palette.GOAL),
    ("created", palette.CREATED),
    ("closed: early", palette.CLOSED_FIRST),
    ("late", palette.CLOSED_LAST),
    ("plan", palette.PLAN),
    ("first error", palette.ERROR),
)


def _cell_size(problem: Problem, side: int) -> int:
    return max(3, side // max(problem.width, problem.height))


def _centre(cell: Cell, size: float) -> tuple[float, float]:
    return (cell[0] + 0.5) * size, (cell[1] + 0.5) * size


def _dot(
    canvas: ImageDraw.ImageDraw, cell: Cell, size: float, radius: float, fill: palette.Colour
) -> None:
    x, y = _centre(cell, size)
    reach = radius * size
    canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)


def _draw_plan(canvas: ImageDraw.ImageDraw, cells: list[Cell], size: float) -> None:
    points = [_centre(cell, size) for cell in cells]
    if len(points) > 1:
        canvas.line(points, fill=palette.PLAN, width=max(2, round(size * 0.22)), joint="curve")
    for cell in cells[:1] + cells[-1:]:
        _dot(canvas, cell, size, 0.18, palette.PLAN)


def _draw_error(canvas: ImageDraw.ImageDraw, scene: Scene, size: float) -> None:
    if scene.error_cell is None:
        return
    # A cell outside the grid is marked at the nearest one inside.
    x = min(max(scene.error_cell[0], 0), scene.problem.width - 1)
    y = min(max(scene.error_cell[1], 0), scene.problem.height - 1)
    (centre_x, centre_y), arm = _centre((x, y), size), 0.27 * size
    pen = max(2, round(size * 0.16))
    for halo, colour in ((pen + max(2, round(size * 0.12)), palette.FREE), (pen, palette.ERROR)):
        for sign in (-1, 1):
            canvas.line(
                (centre_x - arm, centre_y - sign * arm, centre_x + arm, centre_y + sign * arm),
                fill=colour,
                width=halo,
            )
    reach = 0.62 * size
    box = (centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach)
    canvas.ellipse(box, outline=palette.ERROR, width=max(2, round(size * 0.1)))


def _maze(scene: Scene, count: int | None, finished: bool, side: int) -> Image.Image:
    """The maze after the first `count` events; plan and error only once finished."""
    problem, size = scene.problem, _cell_size(scene.problem, side)
    state, order = scene.states(count)
    pixels = np.empty((problem.height, problem.width, 3), np.uint8)
    pixels[:] = palette.FREE
    pixels[~problem.floor] = palette.WALL
    for y, x in np.argwhere(state != FREE):
        created = state[y, x] == CREATED
        colour = palette.CREATED if created else palette.closed(float(order[y, x]))
        pixels[y, x] = colour if problem.floor[y, x] else palette.on_wall(colour)
    large = size * SMOOTHING
    image = Image.fromarray(pixels).resize(
        (problem.width * large, problem.height * large), Image.Resampling.NEAREST
    )
    canvas = ImageDraw.Draw(image)
    if finished:
        _draw_plan(canvas, scene.plan_cells(), large)
    for letter, cell, colour in (
        ("S", problem.start, palette.START),
        ("G", problem.goal, palette.GOAL),
    ):
        _dot(canvas, cell, large, 0.42, colour)
        font = ImageFont.load_default(max(6, round(large * 0.55)))
        canvas.text(_centre(cell, large), letter, palette.FREE, font, anchor="mm")
    if finished:
        _draw_error(canvas, scene, large)
    image = image.resize((problem.width * size, problem.height * size), Image.Resampling.LANCZOS)
    ImageDraw.Draw(image).rectangle(
        (0, 0, image.width - 1, image.height - 1), outline=palette.FAINT_INK
    )
    return image


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _legend_rows(font: Font, width: int, failed: bool) -> list[list[tuple[str, palette.Colour]]]:
    rows: list[list[tuple[str, palette.Colour]]] = [[]]
    used = 0.0
    for name, colour in LEGEND if failed else LEGEND[:-1]:
        needed = font.getlength(name) + 40
        if rows[-1] and used + needed > width:
            rows.append([])
            used = 0.0
        rows[-1].append((name, colour))
        used += needed
    return rows


def render(
    scene: Scene, count: int | None = None, finished: bool = True, side: int = SIDE
) -> Image.Image:
    """The picture: title, verdicts, maze, legend.

    Args:
        scene: what to draw.
        count: how many events have happened; None: all.
        finished: whether plan and error are shown.
        side: pixels of the maze's longer side, about.
    """
    maze = _maze(scene, count, finished, side)
    title, text = ImageFont.load_default(20), ImageFont.load_default(15)
    width = max(maze.width, 300)
    captions = [
        (good, line, place == 0)
        for good, verdict in scene.verdicts
        for place, line in enumerate(_wrapped(verdict, text, width - 20))
    ]
    rows = _legend_rows(text, width, scene.error_cell is not None)
    top = MARGIN + 34 + LINE * len(captions) + 8
    height = top + maze.height + 14 + LINE * len(rows) + MARGIN - 10
    page = Image.new("RGB", (width + 2 * MARGIN, height), palette.PAPER)
    canvas = ImageDraw.Draw(page)
    canvas.text((MARGIN, MARGIN - 6), scene.title, palette.INK, title)
    for number, (good, line, first) in enumerate(captions):
        y = MARGIN + 30 + LINE * number
        if first:
            colour = palette.START if good else palette.ERROR
            canvas.ellipse((MARGIN, y + 4, MARGIN + 11, y + 15), fill=colour)
        canvas.text((MARGIN + 20, y), line, palette.INK, text)
    page.paste(maze, (MARGIN + (width - maze.width) // 2, top))
    for number, row in enumerate(rows):
        x, y = float(MARGIN), top + maze.height + 14 + LINE * number
        for name, colour in row:
            canvas.rounded_rectangle(
                (x, y + 3, x + 14, y + 17), 3, fill=colour, outline=palette.FAINT_INK
            )
            canvas.text((x + 20, y), name, palette.INK, text)
            x += text.getlength(name) + 40
    return page


def _write_whole(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes beside the path and renames, so that no half-written picture is ever there."""
    if not is_local(path):
        with disk_errors(str(path)), put_whole(path) as file:
            write(file)  # type: ignore[arg-type]
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                write(file)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)  # mkstemp makes a file only its owner can read
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        reason = error.strerror or error  # without the name of the file beside the path
        raise FailureError(f"{str(path)!r} cannot be written: {reason}") from error


def draw_scene(scene: Scene, path: str | Path) -> None:
    """Writes the scene as a PNG; FailureError if the path cannot be written."""
    _write_whole(as_path(path), lambda file: render(scene).save(file, "PNG", optimize=True))


def animate_scene(scene: Scene, path: str | Path, frames: int = 90, side: int = 480) -> None:
    """Writes the search as a GIF: closes in their order, then plan and error for three seconds.

    Args:
        scene: what to draw.
        path: the file.
        frames: at most so many steps of the search; long searches take several closes a frame.
        side: pixels of the maze's longer side, about.
    """
    closes = np.flatnonzero(scene.events[:, 0] == 1)
    chosen = np.unique(np.linspace(0, len(closes) - 1, min(frames, len(closes))).astype(int))
    counts = [0, *(int(closes[place]) + 1 for place in chosen)]
    images = [render(scene, count, False, side) for count in counts]
    images.append(render(scene, None, True, side))
    # One palette for all frames, of the pictures' own colours: chosen by frequency, as Pillow
    # would, it would lose the few pixels of start, goal and error.
    colours = Image.new("P", (1, 1))
    colours.putpalette([part for colour in palette.few_colours() for part in colour])
    reduced = [image.quantize(palette=colours, dither=Image.Dither.NONE) for image in images]
    durations = [400] + [70] * (len(images) - 2) + [3000]

    def write(file: BinaryIO) -> None:
        reduced[0].save(
            file, "GIF", save_all=True, append_images=reduced[1:], duration=durations, loop=0
        )

    _write_whole(as_path(path), write)


def draw(
    problem: Problem,
    trace: Trace | None = None,
    plan: np.ndarray | None = None,
    verdict: Verdict | None = None,
    path: str | Path = "maze.png",
    title: str = "",
) -> None:
    """Writes a PNG of a problem with what is given; trace and plan default to the verdict's."""
    draw_scene(scene_from_parts(problem, trace, plan, verdict, title), path)


def animate(
    problem: Problem,
    trace: Trace | None = None,
    plan: np.ndarray | None = None,
    verdict: Verdict | None = None,
    path: str | Path = "maze.gif",
    title: str = "",
) -> None:
    """Writes a GIF of the search; arguments as `draw`."""
    animate_scene(scene_from_parts(problem, trace, plan, verdict, title), path)

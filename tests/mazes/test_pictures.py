"""Pictures show what they claim: walls, search, plan and error where they are."""

import io

import numpy as np
import pytest
from corruptions import words_of
from PIL import Image
from rich.console import Console

from jaxreason.errors import FailureError
from jaxreason.mazes import MazeConfig, generate_solved, palette
from jaxreason.mazes.pictures import animate, animate_scene, draw, draw_scene, render
from jaxreason.mazes.scene import CLOSED, CREATED, scene_of
from jaxreason.mazes.terminal import ERROR, GOAL, START, STEP, WALL, print_scene
from jaxreason.mazes.terminal import draw as draw_text
from jaxreason.mazes.validation import judge

PROBLEM, TRACE = generate_solved(MazeConfig("wilson", 9, 9), 2, 0)
WORDS = words_of(TRACE.events.tolist(), TRACE.plan.tolist())


def broken_words():
    """(words, cell of the first error): a close whose cost is wrong."""
    events = TRACE.events.tolist()
    place = [i for i, event in enumerate(events) if event[0] == 1][2]
    events[place][3] += 5
    return words_of(events, TRACE.plan.tolist()), tuple(events[place][1:3])


def rows_of(scene):
    lines = draw_text(scene).plain.splitlines()
    return [[line[2 * x : 2 * x + 2] for x in range(scene.problem.width)] for line in lines]


def test_the_terminal_shows_every_cell_in_its_place():
    rows = rows_of(scene_of(PROBLEM, WORDS))
    plan = {tuple(cell) for cell in TRACE.plan.tolist()}
    assert len(rows) == PROBLEM.height
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            if (x, y) == PROBLEM.start:
                assert text == START
            elif (x, y) == PROBLEM.goal:
                assert text == GOAL
            elif (x, y) in plan:
                assert text == STEP
            else:
                assert (text == WALL) == (not PROBLEM.floor[y, x])


def test_the_first_error_is_marked_and_said():
    words, (x, y) = broken_words()
    scene = scene_of(PROBLEM, words)
    assert rows_of(scene)[y][x] == ERROR
    output = io.StringIO()
    print_scene(scene, Console(file=output, width=200))
    assert "close_not_in_open_list" in output.getvalue()
    assert scene_of(PROBLEM, WORDS).error_cell is None


def test_a_plan_error_is_marked_when_the_trace_has_none():
    words = words_of([], TRACE.plan.tolist()[:2])
    assert scene_of(PROBLEM, words).error_cell == tuple(TRACE.plan[1].tolist())


def test_states_follow_the_events():
    scene = scene_of(PROBLEM, WORDS)
    state, order = scene.states(1)
    assert state.sum() == CLOSED
    start_x, start_y = PROBLEM.start
    assert state[start_y, start_x] == CLOSED
    state, order = scene.states()
    closed = {(x, y) for kind, x, y, _, _ in TRACE.events.tolist() if kind == 1}
    assert {(int(x), int(y)) for y, x in np.argwhere(state == CLOSED)} == closed
    assert ((state == CREATED) <= PROBLEM.floor).all()
    assert order.max() == 1


def pixel_at(image, scene, x, y, corner=0.2):
    """The colour near the corner of a cell, clear of lines and dots."""
    array = np.asarray(image.convert("RGB"))
    rows, columns = np.where((array == palette.WALL).all(-1))
    size = 720 // scene.problem.width
    # Some outer row and column of this maze are wall cells, so the walls span the maze.
    left, top = columns.min(), rows.min()
    return tuple(array[int(top + (y + corner) * size), int(left + (x + corner) * size)].tolist())


def test_the_picture_has_walls_and_cells_where_they_are():
    scene = scene_of(PROBLEM, WORDS)
    image = render(scene)
    state, _ = scene.states()
    marked = {PROBLEM.start, PROBLEM.goal, *map(tuple, TRACE.plan.tolist())}
    assert not PROBLEM.floor[0].any() or not PROBLEM.floor[-1].any()
    for y in range(PROBLEM.height):
        for x in range(PROBLEM.width):
            if (x, y) in marked:
                continue
            colour = pixel_at(image, scene, x, y)
            assert (colour == palette.WALL) == (not PROBLEM.floor[y, x])
            assert (colour == palette.CREATED) == (state[y, x] == CREATED)


def test_error_and_plan_colours_appear_only_when_there_is_something_to_show():
    def has(image, colour):
        return bool((np.asarray(image.convert("RGB")) == colour).all(-1).any())

    words, _ = broken_words()
    assert has(render(scene_of(PROBLEM, words)), palette.ERROR)
    assert not has(render(scene_of(PROBLEM, WORDS)), palette.ERROR)


def test_png_and_gif_are_written_whole(tmp_path):
    draw(PROBLEM, TRACE, path=tmp_path / "maze.png")
    draw(PROBLEM, verdict=judge(PROBLEM, WORDS), path=tmp_path / "judged.png")
    animate(PROBLEM, TRACE, path=tmp_path / "maze.gif")
    animate_scene(scene_of(PROBLEM, WORDS), tmp_path / "short.gif", frames=5, side=120)
    with Image.open(tmp_path / "maze.png") as image:
        assert image.format == "PNG"
        assert image.width > 700
    with Image.open(tmp_path / "short.gif") as image:
        # The empty maze, five steps, the finished picture.
        assert image.n_frames == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "judged.png",
        "maze.gif",
        "maze.png",
        "short.gif",
    ]


def test_an_event_on_a_wall_is_seen_through_it():
    scene = scene_of(PROBLEM, WORDS)
    y, x = map(int, np.argwhere(~PROBLEM.floor)[0])
    on_wall = scene_of(PROBLEM, ["create", str(x), str(y), "c1", "c1", *WORDS])
    assert pixel_at(render(scene), scene, x, y) == palette.WALL
    array = np.asarray(render(on_wall).convert("RGB"))
    assert (array == palette.on_wall(palette.CREATED)).all(-1).any()


def test_the_animation_keeps_the_colours_of_start_goal_and_error(tmp_path):
    words, _ = broken_words()
    animate_scene(scene_of(PROBLEM, words), tmp_path / "maze.gif", frames=2)
    with Image.open(tmp_path / "maze.gif") as image:
        image.seek(image.n_frames - 1)
        array = np.asarray(image.convert("RGB"))
    for colour in (palette.START, palette.GOAL, palette.ERROR, palette.PLAN):
        assert (array == colour).all(-1).sum() > 50
    assert len(palette.few_colours()) <= 256


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "maze.png").write_text("before")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(FailureError, match=r"maze\.png' cannot be written: No space"):
        draw_scene(scene_of(PROBLEM, WORDS), tmp_path / "maze.png")
    assert [p.name for p in tmp_path.iterdir()] == ["maze.png"]
    assert (tmp_path / "maze.png").read_text() == "before"


@pytest.mark.parametrize(
    "words",
    ["", "close 99 99 c0 c0", "plan 99 99", "solution end", "junk", "create -5 2 c0 c0 plan -1 0"],
)
def test_nonsense_is_drawn_too(words, tmp_path):
    scene = scene_of(PROBLEM, words)
    draw_text(scene)
    draw_scene(scene, tmp_path / "maze.png")
    animate_scene(scene, tmp_path / "maze.gif", side=60)
    assert Image.open(tmp_path / "maze.png").size > (100, 100)
    assert Image.open(tmp_path / "maze.gif").n_frames >= 1

"""What every task of the maze world says."""

import dataclasses
import re

import numpy as np
import pytest
from maze_worlds import (
    HEAD,
    PLAIN,
    SOURCES,
    TAIL,
    WORLD,
    drawn_map,
    listed,
    plan_words,
    trace_words,
    words_of,
)

from jaxreason.data.multimodal.maze_world import TASKS_OF_WORLD, MazeWorld, MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.mazes import generate_solved
from jaxreason.mazes.generators import GENERATORS
from jaxreason.mazes.rasters import rasterise
from jaxreason.tokens.image_codec import PaletteCodec


@pytest.mark.parametrize("description", ["map", "list"])
@pytest.mark.parametrize("index", [0, 7, 29])
def test_what_the_tasks_say_without_reasoning(description, index):
    source = SOURCES["none", description]
    problem, plan = source.problem(index), plan_words(source, index)
    told = drawn_map(problem) if description == "map" else listed(problem)
    says = {task: words_of(source, index, task) for task in TASKS_OF_WORLD}
    assert says == {
        "draw_maze": f"<|t2i|> <|bos|> draw {told} <|eos|> <|soi|> <|eoi|>",
        "draw_solution": f"<|t2i|> <|bos|> solve {told} <|eos|> <|soi|> <|eoi|>",
        "read_plan": f"<|mmu|> <|soi|> <|eoi|> <|bos|> {HEAD} solve {TAIL} {plan} <|eos|>",
        "read_maze": f"<|mmu|> <|soi|> <|eoi|> <|bos|> {HEAD} read {TAIL} {told} <|eos|>",
        "plan": f"<|bos|> {HEAD} solve {told} {TAIL} {plan} <|eos|>",
        "text": f"<|bos|> solve {told} {plan} <|eos|>",
    }


@pytest.mark.parametrize("reasoning", ["correct", "swapped"])
@pytest.mark.parametrize("index", [0, 7, 29])
def test_reasoning_comes_before_the_answer(reasoning, index):
    source = SOURCES[reasoning, "map"]
    donor = source.donor(index)
    assert (donor == index) == (reasoning == "correct")
    trace, other = trace_words(source, donor), listed(source.problem(donor))
    told, plan = drawn_map(source.problem(index)), plan_words(source, index)
    thought, described = f"<think> {trace} </think>", f"<think> {other} </think>"
    drawing = f"<|r2i|> <|bos|> {HEAD}"
    says = {task: words_of(source, index, task).replace(" <|eos|>", "") for task in TASKS_OF_WORLD}
    assert says == {
        "draw_maze": f"{drawing} draw {told} {TAIL} {described} <|soi|> <|eoi|>",
        "draw_solution": f"{drawing} solve {told} {TAIL} {thought} <|soi|> <|eoi|>",
        "read_plan": f"<|mmu|> <|soi|> <|eoi|> <|bos|> {HEAD} solve {TAIL} {thought} {plan}",
        "read_maze": f"<|mmu|> <|soi|> <|eoi|> <|bos|> {HEAD} read {TAIL} {described} {told}",
        "plan": f"<|bos|> {HEAD} solve {told} {TAIL} {thought} {plan}",
        "text": f"<|bos|> solve {told} {thought} {plan}",
    }


@pytest.mark.parametrize("reasoning", ["none", "correct"])
def test_pictures_show_the_maze_and_only_drawn_solutions_the_plan(reasoning):
    source = SOURCES[reasoning, "map"]
    codec = PaletteCodec(5, 5)
    for task in ("draw_maze", "draw_solution", "read_plan", "read_maze"):
        row = source[3, task]
        plan = source.trace(3).plan if task == "draw_solution" else None
        expected = codec.encode(rasterise(source.problem(3), plan)[None])[0]
        codes = source.vocabulary.ids.codes(row.tokens[row.image])
        np.testing.assert_array_equal(codes, expected)


def test_an_example_depends_on_world_and_index_alone():
    fresh = MazeWorldSource(WORLD)
    for index in (12, 3):
        problem, _ = generate_solved(WORLD.data.maze, 5, index)
        assert fresh.problem(index).digest() == problem.digest()
        for task in reversed(TASKS_OF_WORLD):
            for one, other in zip(fresh[index, task], PLAIN[index, task], strict=True):
                np.testing.assert_array_equal(one, other)
    other_seed = MazeWorldSource(dataclasses.replace(WORLD, seed=6))
    assert (other_seed[3, "plan"].tokens != PLAIN[3, "plan"].tokens).any()


def test_splits_share_no_maze_and_have_rows_of_one_length():
    small = MazeWorld(width=4, height=4, minimum_path_cells=3, count=300)
    sources = {
        split: MazeWorldSource(dataclasses.replace(small, split=split))
        for split in ("train", "validation", "test")
    }
    mazes = {
        split: {source.problem(i).digest() for i in range(300)} for split, source in sources.items()
    }
    assert not mazes["train"] & (mazes["validation"] | mazes["test"])
    assert not mazes["validation"] & mazes["test"]
    assert len({source.layout.length for source in sources.values()}) == 1


def test_a_row_that_is_cached_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        PLAIN[0, "plan"].tokens[0] = 1


def test_a_dropped_text_leaves_task_and_picture():
    row = PLAIN.row(2, "draw_maze", drop_text=True)
    words = PLAIN.vocabulary.decode(row.tokens[row.keys & ~row.image])
    assert words == "<|t2i|> <|bos|> <|eos|> <|soi|> <|eoi|>"
    np.testing.assert_array_equal(row.tokens[row.image], PLAIN[2, "draw_maze"].tokens[row.image])


@pytest.mark.parametrize("key", sorted(SOURCES))
@pytest.mark.parametrize("task", TASKS_OF_WORLD)
def test_a_text_prompt_is_the_visible_beginning_of_its_row(key, task):
    source = SOURCES[key]
    layout = source.tasks[task]
    if layout == "t2i":
        return
    row, prompt = source[4, task], source.prompt(4, task)
    np.testing.assert_array_equal(row.tokens[: len(prompt)], prompt)
    after = row.tokens[len(prompt) : len(prompt) + source.answer_room(task)]
    answer = [*source.answer(4, task).tolist(), source.vocabulary.eos]
    assert after.tolist()[: len(answer)] == answer
    if layout != "lm":
        # The newline after the header of the answer is the first token that may be masked.
        assert source.vocabulary.words[prompt[-1]] == "<nl>"
        assert np.flatnonzero(row.maskable)[0] == len(prompt) - 1


def test_drawings_are_prompted_with_the_row_and_a_masked_picture():
    prompts = PLAIN.prompts([1, 4], "draw_solution")
    for place, index in enumerate((1, 4)):
        row = PLAIN[index, "draw_solution"]
        np.testing.assert_array_equal(prompts["tokens"][place][~row.image], row.tokens[~row.image])
        assert (prompts["tokens"][place][row.image] == PLAIN.vocabulary.ids.mask).all()


def test_drawings_after_reasoning_are_prompted_with_what_was_written():
    source = SOURCES["correct", "map"]
    written = [source.answer(1, "draw_solution"), np.full(400, 3, np.int32)]
    prompts = source.image_prompts([1, 4], "draw_solution", written)
    row = source[1, "draw_solution"]
    np.testing.assert_array_equal(prompts["tokens"][0][~row.image], row.tokens[~row.image])
    assert (prompts["tokens"][1] == 3).sum() > 100
    assert prompts["tokens"][1][source.layout.text_length] == source.vocabulary.eos
    texts = source.prompts([1, 4], "draw_solution")
    assert set(texts) == {"tokens", "lengths"}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("description", ["map", "list"])
@pytest.mark.parametrize("reasoning", ["none", "correct", "swapped"])
def test_the_default_rows_hold_every_maze_of_every_generator(generator, description, reasoning):
    world = MazeWorld(
        generator=generator,
        width=6,
        height=5,
        count=400,
        reasoning=reasoning,
        description=description,
        tie_break="searchformer",
    )
    source = MazeWorldSource(world)
    assert source.layout.length % 8 == 0
    longest = int(np.argmax(source.lengths.answer["plan"] + source.lengths.prompt["plan"]))
    for task in TASKS_OF_WORLD:
        source.row(longest, task)
        prompt, answer = source.question(longest, task), source.answer(longest, task)
        assert len(prompt) == np.broadcast_to(source.lengths.prompt[task], 400)[longest] or (
            description == "list" and reasoning == "swapped"
        )
        if reasoning != "swapped":
            assert len(answer) == np.broadcast_to(source.lengths.answer[task], 400)[longest]


def test_rows_that_are_too_short_are_refused_before_any_is_made():
    refused = "task 'read_[a-z]+' needs [0-9]+ for example [0-9]+ of the train split"
    with pytest.raises(InputError, match=refused) as caught:
        MazeWorldSource(dataclasses.replace(WORLD, text_length=30))
    needed = int(re.search("needs ([0-9]+)", str(caught.value))[1])
    with pytest.raises(InputError, match=f"needs {needed}"):
        MazeWorldSource(dataclasses.replace(WORLD, text_length=needed - 1))
    exact = MazeWorldSource(dataclasses.replace(WORLD, text_length=needed))
    for task in TASKS_OF_WORLD:
        for index in range(30):
            assert len(exact[index, task].tokens) == needed + 28


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reasoning": "wrong"}, "reasoning is 'wrong'"),
        ({"description": "prose"}, "description is 'prose'"),
        ({"text_length": 1}, "text_length is 1"),
        ({"generator": "maze"}, "generator 'maze'"),
        ({"count": 0}, "count is 0"),
        ({"count": 1, "reasoning": "swapped"}, "count is 1"),
    ],
)
def test_a_bad_world_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(WORLD, **fields)


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="codec makes pictures of 24x24 pixels"):
        MazeWorldSource(WORLD, PaletteCodec(6, 6))
    with pytest.raises(InputError, match="task 'sing' is unknown"):
        PLAIN[0, "sing"]
    with pytest.raises(IndexError, match="index 30"):
        PLAIN[30, "plan"]
    with pytest.raises(InputError, match="no answer in words"):
        PLAIN.answer_room("draw_maze")
    for task, answers in (("draw_maze", np.zeros((2, 25), int)), ("plan", np.zeros((2, 3), int))):
        with pytest.raises(InputError, match="1 problems for 2"):
            PLAIN.judge(task, [PLAIN.problem(0)], answers)


def test_progress_over_the_pictures_is_told():
    seen = []
    world = dataclasses.replace(WORLD, count=1500)
    source = MazeWorldSource(world, on_pictures=lambda done, all: seen.append((done, all)))
    source.codes(0)
    source.codes(1)
    assert seen == [(1024, 1500), (1500, 1500)]

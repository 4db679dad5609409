"""What the judge of the maze world accepts, and what it says of the rest."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maze_worlds import (
    PLAIN,
    SOURCES,
    answers_of,
    drawn_map,
    plan_words,
    trace_words,
)

from jaxreason.data.multimodal.maze_world import TASKS_OF_WORLD
from jaxreason.errors import InputError
from jaxreason.rewards.maze_world import judged_reward
from jaxreason.types import Completions


@pytest.mark.parametrize("key", sorted(SOURCES))
@pytest.mark.parametrize("task", TASKS_OF_WORLD)
def test_the_answers_of_the_rows_are_right(key, task):
    source, indices = SOURCES[key], range(30)
    problems = [source.problem(i) for i in indices]
    judged = source.judge(task, problems, answers_of(source, task, indices))
    assert judged.values.tolist() == [1.0] * 30
    free = {"trace_valid", "trace_strict"} if key[0] == "swapped" else set()
    for name, values in judged.breakdown.items():
        assert values.dtype == np.float32
        if name not in free:
            assert values.all(), name
        else:
            assert values.mean() < 0.5
    wrong = source.judge(task, problems[1:] + problems[:1], answers_of(source, task, indices))
    assert wrong.values.mean() < 0.5


def judge_words(task, words, index=0, source=PLAIN):
    ids = source.vocabulary.encode(words)[None]
    judged = source.judge(task, [source.problem(index)], ids)
    return {name: float(values[0]) for name, values in judged.breakdown.items()}


def test_a_plan_that_is_not_ended_is_valid_and_not_correct():
    plan = plan_words(PLAIN, 0)
    cut = judge_words("plan", plan)
    assert (cut["plan_valid"], cut["finished"], cut["correct"]) == (1, 0, 0)
    whole = judge_words("plan", f"{plan} <|eos|> plan wall")
    assert (whole["plan_valid"], whole["finished"], whole["correct"]) == (1, 1, 1)


def test_a_plan_need_not_be_the_one_of_the_data():
    x, y = PLAIN.trace(0).plan[0].tolist()
    there, back = PLAIN.trace(0).plan[1].tolist(), plan_words(PLAIN, 0)
    detour = f"plan {x} {y} plan {there[0]} {there[1]} {back} <|eos|>"
    verdict = judge_words("plan", detour)
    assert (verdict["correct"], verdict["optimal"]) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "format", "soft"),
    [
        ("<think> {trace} </think> {plan}", 1, 1),
        ("{plan}", 0, 0),
        ("close <think> {trace} </think> {plan}", 0, 1),
        ("<think> {trace} {plan}", 0, 0),
    ],
)
def test_the_format_asks_for_both_tags(answer, format, soft):
    source = SOURCES["correct", "map"]
    trace, plan = trace_words(source, 0), plan_words(source, 0)
    words = answer.format(trace=trace, plan=plan) + " <|eos|>"
    verdict = judge_words("plan", words, source=source)
    assert (verdict["format"], verdict["soft_format"], verdict["plan_valid"]) == (format, soft, 1)
    assert verdict["trace_valid"] == ("</think>" in answer)


def test_tags_where_none_belong_break_the_format():
    plan = plan_words(PLAIN, 0)
    assert judge_words("plan", f"{plan} <|eos|>")["format"] == 1
    assert judge_words("plan", f"<think> close </think> {plan} <|eos|>")["format"] == 0


def test_a_description_counts_its_words():
    told = drawn_map(PLAIN.problem(0)).split()
    wrong = ["*", *told[1:]]
    assert judge_words("read_maze", " ".join([*wrong, "<|eos|>"])) == {
        **{"correct": 0, "format": 1, "soft_format": 1, "finished": 1},
        "share": pytest.approx(24 / 25),
    }
    assert judge_words("read_maze", " ".join(told[:20]))["share"] == pytest.approx(20 / 25)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, PLAIN.vocabulary.size - 1), max_size=60), st.sampled_from(
    ["read_plan", "read_maze", "plan", "text"]), st.sampled_from(sorted(SOURCES)))  # fmt: skip
def test_a_judge_never_fails_over_what_an_answer_says(ids, task, key):
    source = SOURCES[key]
    tokens = np.array([ids], np.int32)
    judged = source.judge(task, [source.problem(0)], tokens)
    for values in judged.breakdown.values():
        assert 0 <= values[0] <= 1


def test_completions_and_ids_are_judged_alike():
    tokens = answers_of(PLAIN, "plan", range(4))
    lengths = (tokens == PLAIN.vocabulary.eos).argmax(1) + 1
    done = Completions(tokens, np.zeros(tokens.shape, np.float32), lengths, np.ones(4, bool))
    problems = [PLAIN.problem(i) for i in range(4)]
    assert PLAIN.judge("plan", problems, done).values.tolist() == [1, 1, 1, 1]
    cut = done._replace(lengths=lengths - 1, finished=np.zeros(4, bool))
    assert PLAIN.judge("plan", problems, cut).values.tolist() == [0, 0, 0, 0]


def test_a_drawing_with_a_wrong_cell_is_not_right():
    codes = answers_of(PLAIN, "draw_solution", [0])
    codes[0, 0] = 7
    judged = PLAIN.judge("draw_solution", [PLAIN.problem(0)], codes)
    named = {name: float(values[0]) for name, values in judged.breakdown.items()}
    assert (named["correct"], named["maze"], named["optimal"]) == (0, 0, 0)
    assert named["share"] < 1
    bare = PLAIN.judge("draw_solution", [PLAIN.problem(0)], PLAIN.codes(0)[None])
    assert (bare.values[0], bare.breakdown["maze"][0]) == (0, 1)


def test_verdicts_are_weighted_into_a_reward():
    reward = judged_reward(partial(PLAIN.judge, "plan"), {"correct": 2.0, "format": 0.5})
    tokens = answers_of(PLAIN, "plan", [0, 1])
    given = reward([PLAIN.problem(0), PLAIN.problem(0)], tokens)
    assert given.values.tolist() == [2.5, 0.5]
    assert given.values.dtype == np.float32
    with pytest.raises(InputError, match="weights has 'right'"):
        judged_reward(partial(PLAIN.judge, "plan"), {"right": 1.0})([PLAIN.problem(0)], tokens[:1])
    with pytest.raises(InputError, match="weights is empty"):
        judged_reward(partial(PLAIN.judge, "plan"), {})

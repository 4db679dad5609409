"""From prompts to judged completions: layout, order, dynamic sampling, and bad rewards."""

from contextlib import nullcontext

import jax
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.mazes import MazeConfig, generate_solved
from jaxreason.rewards import Reward, maze_reward
from jaxreason.tokens import MazeVocabulary
from jaxreason.training.judging import check_reward, judge_rows
from jaxreason.training.rollouts import (
    PromptStream,
    RolloutConfig,
    RolloutSource,
    encode_prompts,
    join,
)
from jaxreason.types import Completions

WORDS = MazeVocabulary(5, 5)
PROBLEMS = [generate_solved(MazeConfig("kruskal", 5, 5), 0, i, "train") for i in range(40)]


def scripted(answers, limit=40):
    """Completions of given token rows, as a sampler pads them."""
    tokens = np.full((len(answers), limit), WORDS.pad, np.int32)
    for row, answer in enumerate(answers):
        tokens[row, : len(answer)] = answer
    lengths = np.array([len(answer) for answer in answers], np.int32)
    finished = np.array([answer[-1] == WORDS.eos for answer in answers])
    return Completions(tokens, np.zeros(tokens.shape, np.float32), lengths, finished)


def solution(index):
    return WORDS.encode_completion(None, PROBLEMS[index][1].plan)


def test_rows_are_prompt_then_completion_with_the_completion_as_target():
    problems = [PROBLEMS[i][0] for i in range(3)]
    prompts = encode_prompts(WORDS, problems)
    answers = [solution(i // 2)[: 30 - i] for i in range(6)]
    batch = join(prompts, scripted(answers), 2, WORDS.pad)
    for row, answer in enumerate(answers):
        prompt = WORDS.encode_prompt(problems[row // 2])
        whole = np.concatenate([prompt, answer])
        real = np.arange(batch["tokens"].shape[1]) < whole.size
        np.testing.assert_array_equal(batch["tokens"][row][real], whole)
        assert (batch["tokens"][row][~real] == WORDS.pad).all()
        np.testing.assert_array_equal(batch["segments"][row], real)
        np.testing.assert_array_equal(batch["positions"][row][real], np.arange(whole.size))
        targets = np.flatnonzero(batch["targets_mask"][row])
        np.testing.assert_array_equal(targets, np.arange(prompt.size, whole.size))


def test_plan_validity_is_the_reward_and_the_four_cells_sum_to_one():
    right, other = solution(0), solution(1)
    traced = WORDS.encode_completion(PROBLEMS[0][1].events, PROBLEMS[0][1].plan)
    answers = [right, other, traced, right[:-1], traced[:7]]
    reward = maze_reward([PROBLEMS[0][0]] * 5, scripted(answers, 400), WORDS)
    # A plan cut just before its end token is whole, but an answer must end.
    assert reward.values.tolist() == [1, 0, 1, 0, 0]
    assert reward.values.dtype == np.float32
    assert reward.breakdown["trace_valid"].tolist() == [0, 0, 1, 0, 0]
    cells = [
        values
        for name, values in reward.breakdown.items()
        if name.startswith("trace_") and "plan" in name
    ]
    assert len(cells) == 4
    np.testing.assert_array_equal(np.sum(cells, axis=0), np.ones(5))


def test_every_problem_comes_once_per_epoch_and_a_saved_position_goes_on():
    stream = iter(PromptStream(count=10, rows=4, seed=3))
    seen = np.concatenate([next(stream)["problems"] for _ in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    again = iter(PromptStream(count=10, rows=4, seed=3))
    next(again)
    third = iter(PromptStream(count=10, rows=4, seed=3))
    third.set_state(again.get_state())
    np.testing.assert_array_equal(next(third)["problems"], seen[4:8])
    with pytest.raises(InputError, match="saved position"):
        iter(PromptStream(count=10, rows=4, seed=4)).set_state(again.get_state())
    mine, other = (PromptStream(10, 4, 3, base=[number]) for number in (1, 2))
    with pytest.raises(InputError, match="the base has other parameters than when the run began"):
        other.set_state(mine.get_state())
    mine.set_state({"position": 8, "identity": [10, 4, 3]})  # saved before bases were noted
    with pytest.raises(InputError, match="problems is 3"):
        PromptStream(count=3, rows=4, seed=0)


def source(config, rewards_of):
    """A rollout source whose sampler says the true solution and whose rewards are scripted."""

    def sampler(params, prompts, key):
        rows = len(prompts["lengths"]) * config.group
        return scripted([solution(0)] * rows)

    def reward(problems, completions):
        numbers = [PROBLEMS_INDEX[problem.digest()] for problem in problems]
        return Reward(np.array(rewards_of(numbers), np.float32), {})

    return RolloutSource(
        config, sampler, reward, lambda i: PROBLEMS[i][0], WORDS, None, lambda _: nullcontext()
    )


PROBLEMS_INDEX = {problem.digest(): i for i, (problem, _) in enumerate(PROBLEMS)}


def test_dynamic_sampling_takes_the_first_groups_whose_rewards_differ():
    config = RolloutConfig(prompts=4, group=2, keep="informative", oversample=3, max_new_tokens=40)

    def rewards(numbers):  # groups of odd problems have differing rewards
        return [float(n % 2 and row % 2) for row, n in enumerate(numbers)]

    rollout = source(config, rewards)(None, np.arange(12), jax.random.key(0))
    expected = [WORDS.encode_prompt(PROBLEMS[i][0]) for i in (1, 3, 5, 7) for _ in range(2)]
    for row, prompt in enumerate(expected):
        np.testing.assert_array_equal(rollout.batch["tokens"][row, : prompt.size], prompt)
    assert rollout.reward.values.tolist() == [0, 1] * 4


def test_where_too_few_groups_differ_the_step_is_filled_with_others():
    config = RolloutConfig(prompts=4, group=2, keep="informative", oversample=2, max_new_tokens=40)

    def rewards(numbers):
        return [float(n == 6 and row % 2) for row, n in enumerate(numbers)]

    rollout = source(config, rewards)(None, np.arange(8), jax.random.key(0))
    assert rollout.reward.values.tolist() == [0, 1] + [0] * 6


def test_a_range_of_group_means_filters_groups():
    config = RolloutConfig(
        prompts=1,
        group=4,
        keep="informative",
        mean_between=(0.2, 0.6),
        oversample=3,
        max_new_tokens=40,
    )

    def rewards(numbers):  # means 3/4, 2/4, 1/4 for problems 0, 1, 2
        return [float(row % 4 < 3 - n) for row, n in enumerate(numbers)]

    rollout = source(config, rewards)(None, np.arange(3), jax.random.key(0))
    assert rollout.reward.values.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.array([0, np.nan, 0, 0]), "completion 1 is nan"),
        (np.array([0, 0, 0, np.inf]), "completion 3 is inf"),
        (np.array(["0", "1", "0", "1"]), "expected numbers"),
    ],
)
def test_rewards_that_are_no_finite_number_per_completion_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        check_reward(Reward(values, {}), 4)
    with pytest.raises(InputError, match=message):
        check_reward(Reward(np.zeros(4), {"part": values}), 4)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": 0}, "rollout.group is 0"),
        ({"temperature": 0.0}, "rollout.temperature is 0"),
        ({"top_p": 0.0}, "rollout.top_p"),
        ({"minibatches": 3}, "must divide prompts x group"),
        ({"keep": "some"}, "rollout.keep is 'some'"),
        ({"oversample": 2}, "nothing would be dropped"),
        ({"mean_between": (0.8, 0.2)}, "rollout.mean_between"),
    ],
)
def test_bad_rollouts_are_refused_by_name(fields, message):
    with pytest.raises(InputError, match=message):
        RolloutConfig(**fields)


def test_the_names_of_a_breakdown_have_one_order_on_any_number_of_processes():
    found = Reward(np.ones(2), {"valid": np.ones(2), "optimal": np.zeros(2)})
    judged = judge_rows(lambda problems, answers: found, [1, 2], np.zeros(2), None)
    # With several processes a breakdown is put together again as a tree, which sorts its names.
    assert list(judged.breakdown) == list(jax.tree.map(np.copy, found).breakdown)
    assert list(judged.breakdown) == ["optimal", "valid"]

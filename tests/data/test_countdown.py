"""What a Countdown example says, and that the training pipeline takes it."""

import dataclasses
import json

import numpy as np
import pytest

from jaxreason.countdown import SPLITS, canonical_solution, generate, judge
from jaxreason.data import CountdownData, countdown_source, training_batches
from jaxreason.errors import InputError
from jaxreason.evaluation.generate import prompt_batches

SMALL = CountdownData(numbers=3, largest=12, largest_target=50, count=40, seed=3)


def words_of(source, index):
    """(prompt words with bos, completion words with eos)."""
    example = source[index]
    words = source.vocabulary.decode(example["tokens"]).split()
    return words[: example["prompt_length"]], words[example["prompt_length"] :]


@pytest.mark.parametrize("split", SPLITS)
def test_an_example_is_a_problem_with_its_canonical_solution(split):
    source = countdown_source(dataclasses.replace(SMALL, split=split))
    for index in range(len(source)):
        example, problem = source[index], source.problem(index)
        assert problem == generate(source.config.problems, 3, index, split)
        numbers = " ".join(map(str, problem.numbers))
        solution = " ".join(canonical_solution(problem))
        assert source.vocabulary.decode(example["tokens"]) == (
            f"<|bos|> query {numbers} target {problem.target} answer {solution} end <|eos|>"
        )
        assert example["tokens"].dtype == np.int32
        assert example["index"] == index
        prompt, completion = words_of(source, index)
        assert prompt == source.vocabulary.decode_words(source.vocabulary.encode_prompt(problem))
        assert judge(problem, completion[:-1]).valid


def test_examples_do_not_depend_on_order_or_on_what_was_read_before():
    one, other = countdown_source(SMALL), countdown_source(SMALL)
    for index in [5, 0, 39, 5, 0]:
        np.testing.assert_array_equal(one[index]["tokens"], other[index]["tokens"])
    first = one[5]["tokens"]
    first[:] = 0
    assert one[5]["tokens"].any(), "a caller must not be able to write into the cache"


def test_the_vocabulary_holds_every_number_and_target():
    assert countdown_source(SMALL).vocabulary.limit == 50
    assert countdown_source(CountdownData(largest=30, largest_target=20)).vocabulary.limit == 30


@pytest.mark.parametrize("packing", ["packed", "buckets", "padded"])
def test_every_example_reaches_a_batch_whole_with_loss_on_its_answer(packing):
    source = countdown_source(SMALL)
    vocabulary = source.vocabulary
    batches = training_batches(
        source, pad_id=vocabulary.pad, batch_size=4, length=36, packing=packing, epochs=1
    )
    seen = []
    for batch in batches:
        rows = zip(batch["tokens"], batch["segments"], batch["targets_mask"], strict=True)
        for row, segments, mask in rows:
            for segment in range(1, segments.max() + 1):
                words = vocabulary.decode_words(row[segments == segment])
                answer = words.index("answer")
                assert mask[segments == segment].tolist() == [
                    place >= answer for place in range(len(words))
                ]
                seen.append(" ".join(words))
    expected = [vocabulary.decode(source[index]["tokens"]) for index in range(len(source))]
    assert sorted(seen) == sorted(expected)


def test_a_position_is_only_accepted_by_the_same_data_set():
    def stream(config):
        source = countdown_source(config)
        return iter(training_batches(source, pad_id=source.vocabulary.pad, batch_size=2, length=20))

    running = stream(SMALL)
    for _ in range(3):
        next(running)
    state = json.loads(json.dumps(running.get_state()))
    resumed = stream(SMALL)
    resumed.set_state(state)
    for _ in range(3):
        expected = next(running)
        for name, array in next(resumed).items():
            np.testing.assert_array_equal(array, expected[name])
    with pytest.raises(InputError, match="belongs to a pipeline with source "):
        stream(dataclasses.replace(SMALL, largest_target=40)).set_state(state)


def test_problems_can_be_put_in_prompt_batches_whatever_their_order():
    source = countdown_source(SMALL)
    problems = [source.problem(index) for index in range(10)]
    there, back = (
        list(prompt_batches(source.vocabulary, listed, batch_size=4))
        for listed in (problems, problems[::-1])
    )
    for one, other in zip(there, back, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)
        np.testing.assert_array_equal(one.lengths, other.lengths)


@pytest.mark.parametrize("index", [-1, 40])
def test_an_index_outside_the_data_set_is_an_index_error(index):
    source = countdown_source(SMALL)
    for read in (source.__getitem__, source.problem):
        with pytest.raises(IndexError, match=f"index {index} is outside the data set of 40"):
            read(index)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"numbers": 1}, "numbers is 1"),
        ({"largest": 0}, "largest is 0"),
        ({"split": "dev"}, "split is 'dev'; expected one of train, validation, test"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        CountdownData(**fields)

"""What an example of each regime says, word for word."""

import dataclasses
import hashlib

import numpy as np
import pytest

from jaxreason.data import MazeData, maze_source, training_batches
from jaxreason.errors import InputError
from jaxreason.mazes import GENERATORS, generate_solved, to_text

SMALL = MazeData(width=9, height=9, count=40, seed=3)


def words_of(source, index):
    """(prompt words with bos, completion words with eos)."""
    example = source[index]
    words = source.vocabulary.decode(example["tokens"]).split()
    return words[: example["prompt_length"]], words[example["prompt_length"] :]


def parts(completion):
    """(trace words, plan words) of a completion."""
    place = completion.index("solution")
    return completion[:place], completion[place:]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_correct_example_is_the_text_of_the_solved_problem(generator):
    source = maze_source(dataclasses.replace(SMALL, generator=generator))
    for index in (0, 7, 39):
        example = source[index]
        problem, trace = generate_solved(source.config.maze, 3, index)
        text = f"<|bos|> {to_text(problem, trace)} <|eos|>"
        assert source.vocabulary.decode(example["tokens"]) == text
        assert example["tokens"].dtype == np.int32
        assert (example["index"], example["donor"]) == (index, index)
        assert words_of(source, index)[0][-1] == "reasoning"


def test_the_random_tie_break_is_that_of_the_generated_problem():
    source = maze_source(dataclasses.replace(SMALL, tie_break="searchformer_random"))
    for index in range(10):
        _, trace = generate_solved(source.config.maze, 3, index, tie_break="searchformer_random")
        np.testing.assert_array_equal(source.trace(index).events, trace.events)


def test_all_regimes_share_prompt_and_plan_and_differ_in_the_trace_alone():
    correct, bare, swapped = (
        maze_source(dataclasses.replace(SMALL, regime=regime))
        for regime in ("correct", "solution_only", "swapped")
    )
    for index in range(len(correct)):
        prompt, completion = words_of(correct, index)
        trace, plan = parts(completion)
        assert words_of(bare, index) == (prompt, plan)
        swapped_prompt, swapped_completion = words_of(swapped, index)
        donor = swapped[index]["donor"]
        donor_trace, _ = parts(words_of(correct, donor)[1])
        assert swapped_prompt == prompt
        assert parts(swapped_completion) == (donor_trace, plan)
        assert trace[0] == "close"


def test_donors_are_a_permutation_without_fixed_point_that_the_seed_decides():
    swapped = dataclasses.replace(SMALL, regime="swapped", count=500)
    donors = swapped.donors()
    assert sorted(donors) == list(range(500))
    assert (donors != np.arange(500)).all()
    np.testing.assert_array_equal(donors, swapped.donors())
    assert (donors != dataclasses.replace(swapped, seed=4).donors()).any()


def test_dropping_levels_leave_ever_less_of_the_trace():
    def trace(index, **fields):
        source = maze_source(dataclasses.replace(SMALL, **fields))
        return parts(words_of(source, index)[1])

    for index in range(10):
        full, plan = trace(index)
        levels = [trace(index, regime="dropped", drop_level=level) for level in (1, 2, 3, 4)]
        assert all(level_plan == plan for _, level_plan in levels)
        creates_only, without_costs, thinned, nothing = (words for words, _ in levels)
        assert "close" in full
        assert "close" not in creates_only
        assert creates_only.count("create") == full.count("create")
        assert len(without_costs) == 3 * creates_only.count("create")
        assert len(thinned) <= len(without_costs)
        assert nothing == []


def test_examples_do_not_depend_on_order_or_on_the_cache():
    cached, bounded, fresh = (maze_source(SMALL, cache_bytes=n) for n in (10**6, 3_000, 0))
    for index in [5, 0, 39, 5, 0]:
        for source in (cached, bounded):
            np.testing.assert_array_equal(source[index]["tokens"], fresh[index]["tokens"])
    first = cached[5]["tokens"]
    first[:] = 0
    assert cached[5]["tokens"].any(), "a caller must not be able to write into the cache"


@pytest.mark.parametrize("generator", ["wilson", "drunkards_walk", "searchformer"])
def test_splits_share_no_problem(generator):
    digests = {}
    for split in ("train", "validation", "test"):
        data = MazeData(generator, width=8, height=8, count=1500, seed=1, split=split)
        source = maze_source(data)
        digests[split] = {source.problem(index).digest() for index in range(len(source))}
        # Mazes this small come up more than once within a split; most must still differ.
        assert len(digests[split]) > 1000
    assert not digests["train"] & digests["validation"]
    assert not digests["train"] & digests["test"]
    assert not digests["validation"] & digests["test"]


@pytest.mark.parametrize("packing", ["packed", "buckets", "padded"])
def test_no_marker_is_ever_lost_on_the_way_into_a_batch(packing):
    source = maze_source(dataclasses.replace(SMALL, regime="swapped"))
    vocabulary = source.vocabulary
    batches = training_batches(
        source, pad_id=vocabulary.pad, batch_size=4, length=1024, packing=packing, epochs=1
    )
    seen = set()
    for batch in batches:
        for row, segments in zip(batch["tokens"], batch["segments"], strict=True):
            for segment in range(1, segments.max() + 1):
                words = vocabulary.decode(row[segments == segment]).split()
                assert words[:2] == ["<|bos|>", "query"]
                assert words[-2:] == ["end", "<|eos|>"]
                assert "<|pad|>" not in words
                seen.add(hashlib.sha256(" ".join(words).encode()).digest())
    assert len(seen) == len(source)


@pytest.mark.parametrize("index", [-1, 40])
def test_an_index_outside_the_data_set_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"index {index} is outside the data set of 40"):
        maze_source(SMALL)[index]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"generator": "prim"}, "generator 'prim' is unknown; expected one of wilson"),
        ({"width": 0}, "width is 0"),
        ({"regime": "shuffled"}, "regime is 'shuffled'; expected one of solution_only"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"count": 0}, "count is 0"),
        ({"count": 1, "regime": "swapped"}, "at least 2 for regime 'swapped'"),
        ({"seed": -1}, "seed is -1"),
        ({"tie_break": "newest"}, "tie_break 'newest' is unknown"),
        ({"drop_level": 2}, "drop_level is 2 with regime 'correct'"),
        ({"regime": "dropped"}, "drop_level is None with regime 'dropped'"),
        ({"regime": "dropped", "drop_level": 9}, "drop_level is 9"),
    ],
)
def test_bad_settings_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        MazeData(**fields)

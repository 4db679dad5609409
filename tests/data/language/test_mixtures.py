"""Data sets in fixed proportions: exact, nothing left out, counted, shared out and resumed."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_files import write_rows
from language_tokens import Characters

from jaxreason.data.language import (
    DataConfig,
    MixedRecords,
    TextRecord,
    language_source,
    read_mixture,
)
from jaxreason.data.language.mixtures import mixture_names, mixture_weights
from jaxreason.data.pipeline import training_batches
from jaxreason.data.streams import merge_states
from jaxreason.errors import InputError

SIZES = {"large": 70, "small": 5, "middle": 20}


def records_of(letter, size):
    return [TextRecord(letter + str(i)) for i in range(size)]


def mixture(**fields):
    parts = {name: records_of(name[0], size) for name, size in SIZES.items()}
    return MixedRecords(parts, **fields)


def batches(records, **fields):
    source = language_source(records, Characters())
    fields = {"batch_size": 4, "length": 8, "packing": "padded", "prefetch": 0, "seed": 5, **fields}
    return training_batches(source, pad_id=0, **fields)


def texts(batch):
    return [Characters().decode(row) for row in batch["tokens"]]


def test_shares_by_size_by_temperature_and_as_given():
    np.testing.assert_allclose(mixture_weights([30, 10]), [0.75, 0.25])
    np.testing.assert_allclose(mixture_weights([90, 10], temperature=2.0), [0.75, 0.25])
    np.testing.assert_allclose(mixture_weights([30, 10], [1, 3]), [0.25, 0.75])
    for arguments, message in (
        (([1, 2], [1, 0]), "expected 2 numbers above 0"),
        (([1, 2], [1, float("nan")]), "expected 2 numbers above 0"),
        (([1, 2], [1, 2, 3]), "expected 2 numbers above 0"),
        (([1, 2], [1, 2], 2.0), "expected one of the two"),
        (([1, 2], [], 0.0), r"temperature is 0\.0"),
    ):
        with pytest.raises(InputError, match=message):
            mixture_weights(*arguments)


def test_every_record_is_there_and_small_data_sets_are_repeated():
    mixed = mixture(weights=[1, 2, 1])
    assert mixed.counts == {"large": 70, "small": 140, "middle": 70}
    counts = Counter(record.text for record in mixed)
    assert {counts[f"l{i}"] for i in range(70)} == {1}
    assert {counts[f"s{i}"] for i in range(5)} == {28}
    # 70 is three times 20 and ten more, which a seed chooses.
    assert Counter(counts[f"m{i}"] for i in range(20)) == {3: 10, 4: 10}
    assert [mixed.part(i) for i in (0, 69, 70, 209, 210, -1)] == [
        *("large", "large", "small", "small", "middle", "middle")
    ]
    assert [r.text for r in mixed[209:211]] == ["s4", "m0"]
    assert [r.text for r in mixture(weights=[1, 2, 1], seed=1)] != [r.text for r in mixed]
    with pytest.raises(IndexError):
        mixed[280]
    assert mixture().counts == SIZES


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.1, 5)), min_size=1, max_size=5),
    st.integers(0, 9),
)
def test_any_proportions_are_met_to_a_record(sets, seed):
    parts = {str(n): list(range(size)) for n, (size, _) in enumerate(sets)}
    mixed = MixedRecords(parts, [weight for _, weight in sets], seed=seed)
    shares = mixture_weights([1] * len(sets), [weight for _, weight in sets])
    whole = max(len(part) / share for part, share in zip(parts.values(), shares, strict=True))
    np.testing.assert_allclose(list(mixed.counts.values()), shares * whole, atol=0.51)
    for name, part in parts.items():
        seen = Counter(mixed[i] for i in range(len(mixed)) if mixed.part(i) == name)
        assert set(seen) == set(part)
        assert max(seen.values()) - min(seen.values()) <= 1


def test_examples_are_counted_by_data_set_and_resumed():
    mixed = mixture(weights=[1, 2, 1])
    iterator = iter(batches(mixed, streams=2))
    seen = [text for _ in range(70) for text in texts(next(iterator))]
    assert iterator.parts == mixed.counts
    assert Counter(text[0] for text in seen) == {"l": 70, "s": 140, "m": 70}
    state = iterator.get_state()
    later = [texts(next(iterator)) for _ in range(10)]
    again = iter(batches(mixture(weights=[1, 2, 1]), streams=2))
    again.set_state(state)
    assert [texts(next(again)) for _ in range(10)] == later
    assert again.parts == iterator.parts
    with pytest.raises(InputError, match="belongs to a pipeline with"):
        iter(batches(mixture(weights=[2, 2, 1]), streams=2)).set_state(state)


def test_shares_of_processes_are_disjoint_and_make_up_the_whole():
    whole = iter(batches(mixture(), streams=4))
    shares = [iter(batches(mixture(), streams=4, share_index=i, share_count=2)) for i in range(2)]
    for _ in range(30):
        expected = next(whole)
        parts = [next(share) for share in shares]
        np.testing.assert_array_equal(
            np.concatenate([part["tokens"] for part in parts]), expected["tokens"]
        )
    assert merge_states([share.get_state() for share in shares]) == whole.get_state()
    total = Counter()
    for share in shares:
        total.update(share.parts)
    assert total == whole.parts


def test_mixtures_that_cannot_be():
    with pytest.raises(InputError, match="at least one data set"):
        MixedRecords({})
    with pytest.raises(InputError, match="data set 'b' of the mixture has no record"):
        MixedRecords({"a": [1], "b": []})
    with pytest.raises(InputError, match=r"data set 'large' has 70 records and a share of 0\.0005"):
        mixture(weights=[0.001, 1.0, 1.0])


def test_data_sets_are_read_by_their_configurations(tmp_path):
    paths = [write_rows(tmp_path / f"{n}.jsonl", [{"text": n}] * 4) for n in "ab"]
    configs = [
        DataConfig(path=str(path), kind="text", weight=weight)
        for path, weight in zip(paths, (1, 3), strict=True)
    ]
    assert read_mixture(configs).counts == {"a": 4, "b": 12}
    other = DataConfig(path=str(paths[0]), kind="preference")
    with pytest.raises(InputError, match="of the kinds preference, text; expected one kind"):
        read_mixture([*configs, other])
    names = mixture_names([*configs, configs[0], DataConfig(path="x/a 2.jsonl")])
    assert names == ["a", "b", "a 2", "a 2 2"]

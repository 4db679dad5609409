"""Data sets in fixed proportions: exact, seeded, each in epochs of its own, resumed bit for bit."""

from collections import Counter

import numpy as np
import pytest
from language_files import write_rows
from language_tokens import Characters

from jaxreason.data.language import (
    DataConfig,
    TextRecord,
    language_source,
    mixed_source,
    open_sources,
)
from jaxreason.data.language.mixtures import BLOCK, mixture_names, mixture_weights
from jaxreason.data.pipeline import training_batches
from jaxreason.data.streams import merge_states
from jaxreason.errors import InputError

SIZES = {"large": 70, "small": 5, "middle": 21}


def source_of(letter, size):
    return language_source([TextRecord(letter + str(i)) for i in range(size)], Characters())


def mixture(**fields):
    return mixed_source({name: source_of(name[0], size) for name, size in SIZES.items()}, **fields)


def batches(source, **fields):
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


def test_every_block_has_the_exact_proportions_and_every_data_set_its_own_epochs():
    source = mixture(weights=[1, 2, 1])
    assert source.counts == {"large": 250, "small": 500, "middle": 250}
    for block in (0, 3):
        places = range(block * BLOCK, (block + 1) * BLOCK)
        drawn = [source.find(source.visit(place, 7)) for place in places]
        assert Counter(number for number, _ in drawn) == {0: 250, 1: 500, 2: 250}
    drawn = [source.find(source.visit(place, 7)) for place in range(BLOCK)]
    for number, size in enumerate(SIZES.values()):
        own = [place for which, place in drawn if which == number]
        epochs = [own[i : i + size] for i in range(0, len(own) - size + 1, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [source.visit(place, 7) for place in range(50)] != [
        source.visit(place, 8) for place in range(50)
    ]


def test_examples_are_counted_by_data_set_and_resumed():
    iterator = iter(batches(mixture(weights=[1, 2, 1]), streams=2))
    seen = [next(iterator) for _ in range(BLOCK // 4)]
    assert iterator.parts == {"large": 250, "small": 500, "middle": 250}
    assert Counter(text[0] for batch in seen for text in texts(batch)) == {
        "l": 250,
        "s": 500,
        "m": 250,
    }
    state = iterator.get_state()
    later = [texts(next(iterator)) for _ in range(10)]
    again = iter(batches(mixture(weights=[1, 2, 1]), streams=2))
    again.set_state(state)
    assert [texts(next(again)) for _ in range(10)] == later
    assert again.parts == iterator.parts
    with pytest.raises(InputError, match="belongs to a pipeline with source"):
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
        mixed_source({})
    with pytest.raises(InputError, match="data set 'b' of the mixture has no example"):
        mixed_source({"a": source_of("a", 3), "b": source_of("b", 0)})
    with pytest.raises(InputError, match=r"data set 'small' has a share of 0.0001 .* at least"):
        mixture(weights=[1.0, 0.0002, 1.0])


def test_data_sets_are_opened_by_their_configurations(tmp_path):
    paths = [write_rows(tmp_path / f"{n}.jsonl", [{"text": n}] * 4) for n in "ab"]
    configs = [
        DataConfig(path=str(p), kind="text", weight=w) for p, w in zip(paths, (1, 3), strict=True)
    ]
    source = open_sources(configs, lambda records: language_source(records, Characters()))
    assert source.counts == {"a": 250, "b": 750}
    assert source.vocabulary is not None
    one = open_sources(configs[:1], lambda records: language_source(records, Characters()))
    assert len(one) == 4
    with pytest.raises(InputError, match="data is empty"):
        open_sources([], lambda records: records)
    assert mixture_names([*configs, configs[0], DataConfig(path="x/a 2.jsonl")]) == [
        "a",
        "b",
        "a 2",
        "a 2 2",
    ]

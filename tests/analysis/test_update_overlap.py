"""Overlap of updates: counts against brute force, and what is told apart from rounding."""

import doctest
import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from jaxreason.analysis import overlap
from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.equality import Equality, unchanged
from jaxreason.analysis.overlap import count_overlap, overlap_matrix, overlap_report
from jaxreason.errors import InputError
from jaxreason.evaluation.overlap_tables import reading
from jaxreason.weights.safetensors_writing import write_safetensors

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
SHAPES = {
    "embedding": (60, 40),
    "layers/query": (2, 40, 40),
    "layers/norm": (2, 40),
    "head": (40, 60),
}


def save(path, tensors):
    entries = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    write_safetensors(path, entries, tensors.values())
    return path


def weights(seed=0):
    random = np.random.default_rng(seed)
    return {name: 0.02 * random.normal(size=shape) for name, shape in SHAPES.items()}


def trained(base, seed, sigma=3e-5, planted=None):
    """Weights after a dense Gaussian update; where `planted` is True, a hundred times larger."""
    random = np.random.default_rng(seed)
    after = {}
    for name, array in base.items():
        scale = sigma if planted is None else np.where(planted[name], 100 * sigma, sigma / 10)
        after[name] = array.astype(np.float64) + scale * random.normal(size=array.shape)
    return after


def stored(tensors, dtype=BFLOAT16):
    return {name: array.astype(dtype) for name, array in tensors.items()}


@pytest.fixture
def files(tmp_path):
    def write(**checkpoints):
        return [save(tmp_path / f"{name}.safetensors", t) for name, t in checkpoints.items()]

    return write


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, (2, 17)))
def test_counts_and_identities(masks):
    first, second = masks
    found = count_overlap(first, second)
    one, two = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    assert found == (17, len(one), len(two), len(one & two))
    assert all(type(count) is int for count in found)
    if one and two:
        s1, s2 = 1 - len(one) / 17, 1 - len(two) / 17
        assert found.o1 * (1 - s1) == pytest.approx(found.o2 * (1 - s2))
        product = found.o1 * found.o2
        expected = product / (found.o1 + found.o2 - product) if product else 0
        assert found.jaccard == pytest.approx(expected)
    assert np.isnan(found.o1) == (not one)


def test_examples_in_docstrings():
    done = doctest.testmod(overlap)
    assert done.attempted > 0 == done.failed


def test_only_boolean_masks_of_one_shape():
    with pytest.raises(InputError, match="second has dtype int64; expected bool"):
        count_overlap(np.ones(3, bool), np.ones(3, np.int64))
    with pytest.raises(InputError, match=r"first has shape \(3,\) and second \(4,\)"):
        count_overlap(np.ones(3, bool), np.ones(4, bool))


@pytest.mark.parametrize("rule", [Equality(), Equality("exact"), Equality("paper")], ids=str)
def test_matrix_against_brute_force(files, rule, monkeypatch):
    monkeypatch.setattr("jaxreason.analysis.overlap_tally._CHUNK", 700)
    base = stored(weights())
    runs = [stored(trained(base, seed, sigma)) for seed, sigma in ((1, 2e-5), (2, 4e-5), (3, 0))]
    paths = files(base=base, a=runs[0], b=runs[1], c=runs[2])
    found = overlap_matrix(paths[0], paths[1:], rule.mode)

    def count(names, i, j, part=lambda array: array):
        masks = [
            [~unchanged(part(base[name]), part(runs[run][name]), rule) for name in names]
            for run in (i, j)
        ]
        return sum(np.count_nonzero(a & b) for a, b in zip(*masks, strict=True))

    total = found["total"]
    assert total["size"] == sum(array.size for array in base.values())
    for i in range(3):
        assert total["updated"][i] == count(SHAPES, i, i)
        for j in range(3):
            both = count(SHAPES, i, j)
            assert total["observed"]["both"][i][j] == both
            if total["updated"][i]:
                share = total["observed"]["one_sided"][i][j]
                assert share == pytest.approx(both / total["updated"][i])
    assert total["observed"]["one_sided"][2] == [None] * 3  # the third changed nothing
    names = [tensor["name"] for tensor in found["tensors"]]
    assert names.count("layers/1/query") == 1
    second = next(table for table in found["layers"] if table["layer"] == 1)
    in_layers = ["layers/query", "layers/norm"]
    assert second["observed"]["both"][0][1] == count(in_layers, 0, 1, lambda array: array[1])
    query = next(table for table in found["matrices"] if table["matrix"] == "query")
    assert query["observed"]["both"][0][1] == count(["layers/query"], 0, 1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_uniform_null_of_a_report(files):
    base = stored(weights())
    found = overlap_report(
        *files(base=base, a=stored(trained(base, 1)), b=stored(trained(base, 2, 1e-5)))
    )
    total = found["total"]
    uniform = total["nulls"]["uniform"]
    assert uniform["o1"] == pytest.approx(1 - total["sparsity"][1])
    assert uniform["o2"] == pytest.approx(1 - total["sparsity"][0])
    assert uniform["excess"] == pytest.approx(total["observed"]["o1"] - uniform["o1"])


@pytest.mark.parametrize("dtype", [BFLOAT16, np.dtype(np.float32)])
def test_independent_rounded_updates_are_no_subnetwork(files, dtype):
    """Far above chance, and yet not above the nulls that know of rounding.

    Of float32 masters it also matters how near a weight is to where bfloat16 rounds the other
    way, which its magnitude does not tell.
    """
    base = stored(weights(), dtype)
    runs = [stored(trained(base, seed), dtype) for seed in (1, 2)]
    found = overlap_report(*files(base=base, a=runs[0], b=runs[1]), read_dtype="bfloat16")
    nulls = found["total"]["nulls"]
    assert nulls["uniform"]["z"] > 10
    assert (nulls["magnitude_matched"]["z"] < 4) == (dtype == BFLOAT16)
    for name in ("precision", "precision_global"):
        assert abs(nulls[name]["z"]) < 4, name
    sigma = nulls["precision_global"]["sigma"]
    assert sigma == pytest.approx([3e-5] * 2, rel=0.1)
    assert "independent updates share because rounding" in reading(found["total"])
    drawn, exact = nulls["precision_drawn"], nulls["precision"]
    assert drawn["draws"] == 4
    assert drawn["o1"] == pytest.approx(exact["o1"], abs=6 * drawn["o1_standard_error"] + 0.005)


def test_a_planted_subnetwork_is_found(files):
    base = stored(weights())
    random = np.random.default_rng(5)
    planted = {name: random.random(array.shape) < 0.1 for name, array in base.items()}
    runs = [stored(trained(base, seed, planted=planted)) for seed in (1, 2)]
    found = overlap_report(*files(base=base, a=runs[0], b=runs[1]), draws=0)
    nulls = found["total"]["nulls"]
    for name in ("uniform", "tensor_matched", "magnitude_matched", "precision"):
        assert nulls[name]["z"] > 10, name
    assert "precision_drawn" not in nulls
    said = reading(found["total"])
    assert said.startswith("More than chance, the size of the weights")
    one_size = nulls["precision_sign"]["o1"] > found["total"]["observed"]["o1"]
    assert ("though not than rounded updates of one size" in said) == one_size
    nulls["magnitude_matched"]["z"] = 0.0
    assert reading(found["total"]).endswith("no more than the size of the weights explains.")


def test_disjoint_updates_are_below_chance(files):
    base = stored(weights())
    random = np.random.default_rng(5)
    half = {name: random.random(array.shape) < 0.5 for name, array in base.items()}
    runs = [
        {name: np.where(half[name] == side, -array, array) for name, array in base.items()}
        for side in (True, False)
    ]
    found = overlap_report(*files(base=base, a=runs[0], b=runs[1]), draws=1)
    assert found["total"]["observed"]["both"] == 0
    assert found["total"]["nulls"]["uniform"]["z"] < -10
    assert reading(found["total"]) == "No more than two random sets of weights share."


def test_draws_are_a_function_of_the_seed(files):
    base = stored(weights())
    paths = files(base=base, a=stored(trained(base, 1)), b=stored(trained(base, 2)))
    first, again, other = (
        overlap_report(*paths, seed=seed, draws=2)["total"]["nulls"]["precision_drawn"]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_what_is_not_common_is_reported(files):
    base, other = stored(weights()), stored(weights(1))
    del other["head"]
    other["embedding"] = other["embedding"][:50]
    other["more"] = np.ones(3, BFLOAT16)
    found = overlap_report(*files(base=base, a=base, b=other), draws=0)
    assert found["missing"] == [{"name": "head", "shape": [40, 60]}]
    assert found["extra"] == [{"name": "more", "shape": [3]}]
    assert found["reshaped"] == [{"name": "embedding", "before": [60, 40], "after": [50, 40]}]
    assert {item["name"] for item in found["tensors"]} == {
        *("layers/0/query", "layers/1/query", "layers/0/norm", "layers/1/norm")
    }


def test_integers_and_empty_tensors_have_no_precision_null(files):
    base = {"w": np.arange(100), "none": np.zeros((0, 2), BFLOAT16)}
    after = {"w": np.where(np.arange(100) < 30, -1, np.arange(100)), "none": base["none"]}
    found = overlap_report(*files(base=base, a=after, b=after), mode="exact")
    nulls = found["total"]["nulls"]
    assert nulls["precision"]["both"] == nulls["uniform"]["both"] == 9
    assert nulls["precision_global"]["both"] == 9
    empty = next(item for item in found["tensors"] if item["name"] == "none")
    assert empty["observed"] == {"both": 0, "o1": None, "o2": None, "jaccard": None}


def test_progress_counts_every_weight(files):
    base = stored(weights())
    seen = []
    overlap_report(
        *files(base=base, a=base, b=base), draws=0, advance=lambda name, size: seen.append(size)
    )
    assert sum(seen) == sum(array.size for array in base.values())


def test_bad_settings(files):
    base = stored(weights())
    (path,) = files(base=base)
    with pytest.raises(InputError, match="1 runs given"):
        overlap_matrix(path, [path])
    with pytest.raises(InputError, match="mode 'nearly' is unknown"):
        overlap_report(path, path, path, mode="nearly")
    with pytest.raises(InputError, match="draws is -1"):
        overlap_report(open_checkpoint(path), path, path, draws=-1)

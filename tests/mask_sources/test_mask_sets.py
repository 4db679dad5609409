"""Masks as sets: counts, algebra, overlap identities, and files that come back bit by bit."""

import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import FailureError, InputError
from jaxreason.masks.forms import IndexMask, PackedMask, pack, to_indices
from jaxreason.masks.sets import complement, density, intersection, overlap, union
from jaxreason.masks.storage import load_mask, save_mask

SHAPES = {"layers": {"query": (2, 3, 5)}, "norm": (9,), "scale": ()}


def padded(mask):
    end = np.full(3, np.prod(mask.shape, dtype=int), np.int32)
    return IndexMask(np.concatenate([mask.indices, end]), mask.shape)


FORMS = {
    "bool": lambda mask: mask,
    "jax": jnp.asarray,
    "packed": pack,
    "packed_jax": lambda mask: pack(jnp.asarray(mask)),
    "indices": to_indices,
    "indices_padded": lambda mask: padded(to_indices(mask)),
}
PARAMS = jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
    SHAPES,
    is_leaf=lambda node: isinstance(node, tuple),
)


def mask_of(seed, share=0.5):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.asarray(rng.random(leaf.shape) < share), PARAMS)


def in_form(name, mask):
    return jax.tree.map(FORMS[name], mask)


def flat(mask):
    return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(mask)])


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


masks = st.tuples(st.integers(0, 2**32), st.floats(0, 1)).map(lambda drawn: mask_of(*drawn))


@settings(max_examples=30, deadline=None)
@given(masks, masks, masks)
def test_masks_obey_the_laws_of_sets(a, b, c):
    assert_same(union(a, b), complement(intersection(complement(a), complement(b))))
    assert_same(intersection(a, union(b, c)), union(intersection(a, b), intersection(a, c)))
    assert_same(complement(complement(a)), a)
    assert_same(union(a, b, c), union(c, union(b, a)))
    np.testing.assert_array_equal(flat(union(a, b)), flat(a) | flat(b))


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_overlap_identities(a, b):
    found = overlap(a, b)
    x, y = flat(a), flat(b)
    assert found.first == x.sum()
    assert found.second == y.sum()
    assert found.both == (x & y).sum()
    assert sum(leaf.both for leaf in found.leaves.values()) == found.both
    if found.first and found.second:
        # o1 (1 - s1) = o2 (1 - s2): both are the share of entries in both masks.
        first, second = found.first / found.size, found.second / found.size
        assert found.o1 * first == pytest.approx(found.o2 * second)
        o1, o2 = found.o1, found.o2
        if found.both:
            assert found.jaccard == pytest.approx(o1 * o2 / (o1 + o2 - o1 * o2))
        else:
            assert found.jaccard == 0
    else:
        assert math.isnan(found.o1) or math.isnan(found.o2)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_mask_is_accepted(form):
    a, b = mask_of(0), mask_of(1)
    assert_same(union(in_form(form, a), b), union(a, b))
    assert_same(intersection(b, in_form(form, a)), intersection(a, b))
    assert_same(complement(in_form(form, a)), complement(a))
    assert overlap(in_form(form, a), b) == overlap(a, b)
    assert density(in_form(form, a)) == density(a)
    assert density(a).active == flat(a).sum()


def test_bools_for_whole_subtrees_need_the_parameters():
    mask = {"layers": True, "norm": mask_of(0)["norm"], "scale": False}
    with pytest.raises(InputError, match="give `params`"):
        density(mask)
    found = density(mask, PARAMS)
    assert found.leaves["layers/query"].share == 1
    assert found.leaves["scale"].active == 0
    assert found.size == 40
    assert_same(union(mask, False, params=PARAMS), union(mask, params=PARAMS))


def test_counts_are_python_ints_that_do_not_wrap():
    rows = 2**20
    # 2**20 rows of 2**15 bytes would be 2**38 entries: one row, seen as all of them.
    bits = np.broadcast_to(np.full((1, 2**15), 255, np.uint8), (rows, 2**15))[:: 2**10]
    assert density({"w": PackedMask(bits, (2**10, 2**18))}).active == 2**28
    whole = density({"w": True}, {"w": jax.ShapeDtypeStruct((2**20, 2**20), jnp.float32)})
    assert whole.active == whole.size == 2**40
    assert isinstance(whole.active, int)


def test_the_summary_is_a_table_of_leaves():
    lines = str(density(mask_of(0))).splitlines()
    assert [line.split()[0] for line in lines] == ["leaf", "layers/query", "norm", "scale", "all"]
    assert len({len(line) for line in lines}) == 1
    assert "Jaccard" in str(overlap(mask_of(0), mask_of(1)))


def test_masks_that_do_not_match_are_refused_by_path():
    a = mask_of(0)
    with pytest.raises(InputError, match="norm has shape"):
        union(a, {**a, "norm": np.ones(4, bool)})
    with pytest.raises(InputError, match="parameter scale"):
        overlap(a, {"layers": a["layers"], "norm": a["norm"]})
    with pytest.raises(InputError, match="extra"):
        density({**a, "extra": np.ones(2, bool)}, PARAMS)
    with pytest.raises(InputError, match=r"norm.*float32.*NaN"):
        density({**a, "norm": np.full(9, np.nan, np.float32)})


# Files


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_mask_comes_back_bit_by_bit(form, tmp_path):
    mask = mask_of(3)
    save_mask(tmp_path / "mask", in_form(form, mask))
    assert_same(load_mask(tmp_path / "mask"), mask)
    packed = load_mask(tmp_path / "mask", form="packed")
    assert all(isinstance(leaf, PackedMask) for leaf in packed["layers"].values())
    assert_same(union(packed), mask)
    assert [path.name for path in tmp_path.iterdir()] == ["mask"]


def test_a_file_takes_an_eighth_of_a_byte_per_entry(tmp_path):
    save_mask(tmp_path / "mask", {"w": np.ones((100, 1001), bool)})
    assert 100_100 / 8 <= (tmp_path / "mask").stat().st_size < 100_100 / 8 + 200


def test_containers_come_back_and_parameters_give_others(tmp_path):
    flags = np.array([True, False])
    mask = {"blocks": [{"w": flags}, {"w": ~flags}], "heads": {3: True}}
    save_mask(tmp_path / "mask", mask)
    loaded = load_mask(tmp_path / "mask")
    assert jax.tree.structure(loaded) == jax.tree.structure(mask)
    assert_same(loaded, mask)
    params = {"blocks": ({"w": np.zeros(2)}, {"w": np.zeros(2)})}
    params["heads"] = {3: np.zeros((2, 2))}
    loaded = load_mask(tmp_path / "mask", params)
    assert jax.tree.structure(loaded) == jax.tree.structure(params)
    assert loaded["heads"][3].tolist() == [[True, True], [True, True]]
    save_mask(tmp_path / "lone", flags)
    assert_same(load_mask(tmp_path / "lone"), flags)
    save_mask(tmp_path / "whole", {"layers": True, "norm": False, "scale": True}, PARAMS)
    assert load_mask(tmp_path / "whole")["layers"]["query"].all()


def test_a_mask_of_another_model_is_refused_by_path(tmp_path):
    save_mask(tmp_path / "mask", mask_of(0))
    other = {**PARAMS, "norm": jax.ShapeDtypeStruct((8,), jnp.float32)}
    with pytest.raises(InputError, match=r"norm has shape \(9,\)"):
        load_mask(tmp_path / "mask", other)
    with pytest.raises(InputError, match="form='sparse'"):
        load_mask(tmp_path / "mask", form="sparse")
    with pytest.raises(InputError, match=r"mask entry w is 0\.5"):
        save_mask(tmp_path / "mask", {"w": 0.5})
    assert_same(load_mask(tmp_path / "mask"), mask_of(0))  # the refused save left it alone


def test_a_damaged_file_is_refused_wherever_it_was_hit(tmp_path):
    file = tmp_path / "mask"
    save_mask(file, mask_of(0))
    data = file.read_bytes()
    for place in range(len(data)):
        file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises((FailureError, InputError), match=str(file)):
            load_mask(file)
        file.write_bytes(data[:place])
        with pytest.raises((FailureError, InputError), match=str(file)):
            load_mask(file)
    for place in (16, 40, len(data) - 33, len(data) - 1):
        file.write_bytes(data[:place])
        with pytest.raises(FailureError, match="truncated"):
            load_mask(file)


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "mask"
    with pytest.raises(FailureError, match="cannot be read"):
        load_mask(file)
    file.write_bytes(pickle.dumps(mask_of(0)))
    with pytest.raises(InputError, match="not a mask file"):
        load_mask(file)
    file.write_bytes(b"jaxreason-mask 2\nwhatever")
    with pytest.raises(InputError, match="version '2'"):
        load_mask(file)
    with pytest.raises(FailureError, match="could not be written"):
        save_mask(file / "inside", mask_of(0))


def test_index_lists_may_be_loaded_from_padding_only():
    empty = {"w": IndexMask(np.full(4, 6, np.int32), (2, 3))}
    assert density(empty).active == 0

"""Mask forms: every form says the same, and what does not fit is refused by its path."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxreason.errors import InputError
from jaxreason.masks import IndexMask, PackedMask, expand, pack, to_boolean, to_indices

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=19)
PARAMS = {"layers": {"gate": np.zeros((2, 3)), "norm": np.zeros(3)}, "scale": np.zeros(())}
GATE = np.array([[True, False, True], [False, False, True]])


@given(arrays.arrays(bool, SHAPES))
def test_every_form_holds_the_same_mask(mask):
    packed, indexed = pack(mask), to_indices(mask)
    for form in (packed, indexed, to_indices(packed), pack(indexed), mask):
        np.testing.assert_array_equal(to_boolean(form, mask.shape), mask)
        assert isinstance(to_boolean(form), np.ndarray)
    assert packed.bits.nbytes <= -(-mask.size // 8) + mask.size // max(mask.shape[-1:] or (1,))
    assert indexed.indices.dtype == np.int32
    assert (np.diff(indexed.indices) > 0).all()


def test_conversions_can_be_traced():
    @jax.jit
    def through_all(mask):
        return to_boolean(to_indices(pack(mask), size=5))

    np.testing.assert_array_equal(through_all(GATE), GATE)
    padded = jax.jit(lambda mask: to_indices(mask, size=5))(GATE)
    np.testing.assert_array_equal(padded.indices, [0, 2, 5, 6, 6])


@given(arrays.arrays(bool, (2, 3)), st.booleans())
def test_expand_gives_one_bool_array_per_parameter(gate, norm):
    for form in (gate, pack(gate), to_indices(gate), jnp.asarray(gate)):
        mask = expand({"layers": {"gate": form, "norm": norm}, "scale": True}, PARAMS)
        np.testing.assert_array_equal(mask["layers"]["gate"], gate)
        np.testing.assert_array_equal(mask["layers"]["norm"], np.full(3, norm))
        assert mask["scale"].shape == ()


def test_a_prefix_speaks_for_all_below_it():
    mask = expand({"layers": True, "scale": False}, PARAMS)
    assert mask["layers"]["gate"].all()
    assert not mask["scale"]
    assert all(leaf.all() for leaf in jax.tree.leaves(expand(True, PARAMS)))


def test_masks_fit_the_same_paths_in_other_containers():
    params = optax.ScaleByAdamState(count=np.zeros(2), mu=[np.zeros(3)], nu=None)
    mask = expand({"count": np.array([True, False]), "mu": {"0": True}}, params)
    assert isinstance(mask, optax.ScaleByAdamState)
    assert mask.mu[0].all()


def test_parameters_hidden_by_an_outer_transform_are_passed_over():
    hidden = {**PARAMS, "layers": optax.MaskedNode()}
    mask = expand({"layers": {"gate": GATE, "norm": True}, "scale": True}, hidden)
    assert jax.tree.leaves(mask) == [True]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"layers": True}, "no entry for the parameter scale"),
        ({"layers": {"gate": GATE}, "scale": True}, "no entry for the parameter layers/norm"),
        ({"layers": True, "scale": True, "head": True}, "entry head matches no parameter"),
        ({"layers": GATE, "scale": True}, "entry layers is an array, but stands for the subtree"),
        (
            {"layers": {"gate": GATE.T, "norm": True}, "scale": True},
            r"layers/gate has shape \(3, 2\): expected \(2, 3\)",
        ),
        (
            {"layers": {"gate": pack(GATE.T), "norm": True}, "scale": True},
            r"layers/gate is a mask of shape \(3, 2\)",
        ),
        (
            {"layers": {"gate": np.full((2, 3), np.nan), "norm": True}, "scale": True},
            "layers/gate has dtype float64 and holds NaN: expected bool",
        ),
        ({"layers": np.ones((), np.int8), "scale": True}, "has dtype int8: expected bool"),
        ({"layers": 1, "scale": True}, "layers/gate is 1: expected True, False or a bool array"),
        (
            {"layers": {"gate": IndexMask(np.array([0, 7]), (2, 3)), "norm": True}, "scale": True},
            "layers/gate: index 7 is outside",
        ),
        (
            {"layers": {"gate": IndexMask(np.array([-1]), (2, 3)), "norm": True}, "scale": True},
            "index -1 is outside",
        ),
        (
            {
                "layers": {"gate": PackedMask(np.zeros((2, 2), np.uint8), (2, 3)), "norm": True},
                "scale": True,
            },
            r"layers/gate has bits uint8\[2, 2\]: expected uint8\[2, 1\]",
        ),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_by_its_path(mask, message):
    with pytest.raises(InputError, match=message):
        expand(mask, PARAMS)


def test_an_empty_mask_is_refused_where_asked_for():
    empty = {
        "layers": {"gate": to_indices(np.zeros((2, 3), bool)), "norm": pack(np.zeros(3, bool))},
        "scale": False,
    }
    assert not any(leaf.any() for leaf in jax.tree.leaves(expand(empty, PARAMS)))
    with pytest.raises(InputError, match="the mask is empty"):
        expand(empty, PARAMS, allow_empty=False)
    expand({**empty, "scale": True}, PARAMS, allow_empty=False)


@pytest.mark.parametrize("indices", [[1, 1, 3], [3, 1], [0, 4, 2], [4, 0]])
def test_index_lists_that_do_not_rise_are_refused(indices):
    with pytest.raises(InputError, match="indices must rise"):
        to_boolean(IndexMask(np.array(indices, np.int32), (2, 2)))


def test_padding_behind_the_last_index_may_repeat():
    mask = IndexMask(np.array([0, 3, 4, 4], np.int32), (2, 2))
    np.testing.assert_array_equal(to_boolean(mask), [[True, False], [False, True]])

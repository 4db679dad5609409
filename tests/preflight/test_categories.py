"""Bytes of a train state by what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason import masks
from jaxreason.training.preflight.programs import state_bytes
from jaxreason.training.state import abstract_state

PARAMS = {"kernel": jnp.zeros((4, 16))}
MASK = {"kernel": np.arange(64).reshape(4, 16) % 8 == 0}  # 8 entries of 64


@pytest.mark.parametrize(
    ("form", "count"),
    [
        (lambda mask: mask, 64),
        (masks.pack, 8),
        (masks.to_indices, 8 * 4),
    ],
    ids=["bool", "packed", "indices"],
)
def test_masks_of_every_form_are_masks(form, count):
    mask = jax.tree.map(form, MASK)
    optimizer = masks.freeze_outside(optax.adam(0.1), mask)
    found = state_bytes(abstract_state(lambda key: PARAMS, optimizer))
    # Two moments and a counter.
    assert (found["masks"], found["optimizer"]) == (count, 2 * 64 * 4 + 4)


def test_what_is_tracked_of_updates_is_no_moment():
    optimizer = optax.chain(optax.sgd(0.1), masks.track_updates("bfloat16"))
    found = state_bytes(abstract_state(lambda key: PARAMS, optimizer))
    # 64 packed bits, a count and a share; the step is a counter of the optimizer.
    assert (found["masks"], found["optimizer"]) == (8 + 4 + 4, 4)

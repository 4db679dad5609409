"""Deeper models are no larger programs: layers are scanned, so compile time stays flat."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import next_token
from jaxreason.objectives.diffusion.masked_cross_entropy import masked_diffusion
from jaxreason.training.state import abstract_state
from jaxreason.training.step import make_step

INTEGERS = ("tokens", "segments", "positions", "task")
FLAGS = ("targets_mask", "keys", "maskable", "visible_targets")
ATTENTION = {"next_token": "causal", "masked_diffusion": "bidirectional"}


def operations(kind, layers, unroll=1, remat="none"):
    """How many operations the lowered training step has."""
    config = TransformerConfig(
        64, layers, 16, 2, 1, 8, 32, attention=ATTENTION[kind], unroll=unroll, remat=remat
    )
    model, optimizer = Transformer(config), optax.adamw(1e-3)
    objective = next_token(model) if kind == "next_token" else masked_diffusion(model, mask_id=63)
    names = {**dict.fromkeys(INTEGERS, jnp.int32), **dict.fromkeys(FLAGS, jnp.bool_)}
    batch = {
        name: jax.ShapeDtypeStruct((4,) if name == "task" else (4, 16), dtype)
        for name, dtype in names.items()
    }
    state = abstract_state(model.init, optimizer)
    text = make_step(objective, optimizer).lower(state, batch).as_text()
    return len(re.findall(r"= (?:stablehlo|chlo|func|call)", text))


@pytest.mark.parametrize("kind", ATTENTION)
def test_the_step_has_as_many_operations_at_any_depth(kind):
    shallow = operations(kind, 2)
    assert operations(kind, 24) == shallow
    assert operations(kind, 2, remat="full") == operations(kind, 24, remat="full")
    # What is counted does grow where layers are unrolled.
    assert operations(kind, 4, unroll=4) > 1.1 * shallow

"""A tiny LLaDA whose weights anyone can draw again from their names, and inputs for it.

Numbers that tests expect of it come from running github.com/Gen-Verse/MMaDA's
models/modeling_llada.py (PyTorch, CPU) with these weights.
"""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.models.llada import from_llada, llada_places
from jaxreason.models.transformer import TransformerConfig

MASK = 59
TOKENS = (3, 1, 4, 1, 5, 9, 2, 6, 59, 59, 59, 12)
"""A sequence with four masks; expected logits are given at place 8."""


def golden_config(**changes):
    """Two layers of width 32 over 60 tokens, with LLaDA's numerics."""
    settings = {
        "vocabulary_size": 60,
        "layers": 2,
        "width": 32,
        "heads": 4,
        "kv_heads": 4,
        "head_size": 8,
        "mlp_width": 48,
        "tied": False,
        "attention": "bidirectional",
        "rope_base": 5e5,
        "norm_epsilon": 1e-5,
    }
    return TransformerConfig(**(settings | changes))


def golden_weights(config=None):
    """Name in LLaDA's files to float64 array [outputs, inputs]."""

    def draw(name, shape):
        values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        return 0.3 * values if len(shape) == 2 else 1 + 0.1 * values

    places = llada_places(config or golden_config())
    return {name: draw(name, place.stored) for name, place in places.items()}


def golden_params(config=None, dtype=jnp.float32):
    """The same weights as our parameters."""
    config = config or golden_config()
    params = from_llada(golden_weights(config), config)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)

"""Named model shapes."""

from dataclasses import replace

import jax

from jaxreason.errors import InputError
from jaxreason.models.transformer import TransformerConfig
from jaxreason.types import Params

_SHAPES = {
    # layers, width, heads, kv_heads, head_size, mlp_width
    "maze_tiny": (4, 128, 4, 4, 32, 384),
    "maze_small": (8, 384, 6, 6, 64, 1024),
    "qwen2_0_5b": (24, 896, 14, 2, 64, 4864),
}

PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary_size: int, **changes: object) -> TransformerConfig:
    """The model shape called `name`, for a vocabulary of the given size.

    `maze_tiny` trains on two CPU cores in minutes, `maze_small` on one accelerator; `qwen2_0_5b`
    is the shape of Qwen2.5-0.5B (Qwen team, 2024), the one Stechly et al. (2025) train.

    Raises:
        InputError: unknown name.
    """
    if name not in _SHAPES:
        raise InputError(f"model preset {name!r} is unknown; expected one of {PRESETS}")
    layers, width, heads, kv_heads, head_size, mlp_width = _SHAPES[name]
    config = TransformerConfig(
        vocabulary_size=vocabulary_size,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        mlp_width=mlp_width,
    )
    if name == "qwen2_0_5b":
        config = replace(config, qkv_bias=True, rope_base=1e6, dtype="bfloat16", remat="names")
    return replace(config, **changes)  # type: ignore[arg-type]


def count_parameters(params: Params) -> int:
    """Number of scalars in a parameter tree of arrays or of `jax.eval_shape`'s shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

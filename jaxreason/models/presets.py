"""Named model shapes."""

from dataclasses import replace

import jax

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.types import Params

_SHAPES = {
    # layers, width, heads, kv_heads, head_size, mlp_width
    "maze_tiny": (4, 128, 4, 4, 32, 384),
    "maze_small": (8, 384, 6, 6, 64, 1024),
    "qwen2_0_5b": (24, 896, 14, 2, 64, 4864),
    "mmada_tiny": (4, 128, 4, 4, 32, 384),
    "mmada_small": (8, 384, 6, 6, 64, 1024),
    "llada_8b": (32, 4096, 32, 32, 128, 12288),
    "mmada_8b": (32, 4096, 32, 32, 128, 12288),
}
# 134,656 rows are LLaDA's 126,464 and one for each of 8,192 image codes.
_VOCABULARIES = {"qwen2_0_5b": 151_936, "llada_8b": 126_464, "mmada_8b": 134_656}

PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary_size: int | None = None, **changes: object) -> TransformerConfig:
    """The model shape called `name`, for a vocabulary of the given size.

    `maze_tiny` trains on two CPU cores in minutes, `maze_small` on one accelerator; `qwen2_0_5b`
    is the shape of Qwen2.5-0.5B (Qwen team, 2024), the one Stechly et al. (2025) train.

    `llada_8b` is LLaDA-8B (Nie et al. 2025), `mmada_8b` the same with MMaDA's rows for image
    tokens (Yang et al. 2025): bidirectional, an output head of its own, bfloat16 compute, blocks
    recomputed in the backward pass. `mmada_tiny` and `mmada_small` have the sizes of the maze
    models and LLaDA's layout, so that they are exported under its names.

    Args:
        name: one of `PRESETS`.
        vocabulary_size: number of token ids; by default that of the published weights.
        **changes: fields of the config to set otherwise.

    Raises:
        InputError: unknown name; no size, and none is published.
    """
    if name not in _SHAPES:
        raise InputError(f"model preset {name!r} is unknown; expected one of {PRESETS}")
    if vocabulary_size is None and name not in _VOCABULARIES:
        raise InputError(f"model preset {name!r} has no vocabulary of its own; give its size")
    layers, width, heads, kv_heads, head_size, mlp_width = _SHAPES[name]
    config = TransformerConfig(
        vocabulary_size=_VOCABULARIES[name] if vocabulary_size is None else vocabulary_size,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        mlp_width=mlp_width,
    )
    if name == "qwen2_0_5b":
        config = replace(config, qkv_bias=True, rope_base=1e6, dtype="bfloat16", remat="names")
    if name.startswith(("llada", "mmada")):
        config = replace(
            config, tied=False, attention="bidirectional", rope_base=5e5, norm_epsilon=1e-5
        )
    if name.endswith("_8b"):
        config = replace(config, dtype="bfloat16", remat="full")
    return replace(config, **changes)  # type: ignore[arg-type]


def count_parameters(params: Params) -> int:
    """Number of scalars in a parameter tree of arrays or of `jax.eval_shape`'s shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

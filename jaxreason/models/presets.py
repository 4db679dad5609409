"""Named model shapes."""

from dataclasses import replace
from typing import Any

import jax

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.rope import RopeScaling
from jaxreason.types import Params

_SHAPES = {
    # layers, width, heads, kv_heads, head_size, mlp_width
    "maze_tiny": (4, 128, 4, 4, 32, 384),
    "maze_small": (8, 384, 6, 6, 64, 1024),
    "qwen2_0_5b": (24, 896, 14, 2, 64, 4864),
    "qwen2_1_5b": (28, 1536, 12, 2, 128, 8960),
    "qwen2_7b": (28, 3584, 28, 4, 128, 18944),
    "qwen3_0_6b": (28, 1024, 16, 8, 128, 3072),
    "qwen3_8b": (36, 4096, 32, 8, 128, 12288),
    "llama3_1b": (16, 2048, 32, 8, 64, 8192),
    "llama3_8b": (32, 4096, 32, 8, 128, 14336),
    "mistral_7b": (32, 4096, 32, 8, 128, 14336),
    "mmada_tiny": (4, 128, 4, 4, 32, 384),
    "mmada_small": (8, 384, 6, 6, 64, 1024),
    "llada_8b": (32, 4096, 32, 32, 128, 12288),
    "mmada_8b": (32, 4096, 32, 32, 128, 12288),
}
# 134,656 rows are LLaDA's 126,464 and one for each of 8,192 image codes.
_VOCABULARIES = {
    "qwen2_0_5b": 151_936,
    "qwen2_1_5b": 151_936,
    "qwen2_7b": 152_064,
    "qwen3_0_6b": 151_936,
    "qwen3_8b": 151_936,
    "llama3_1b": 128_256,
    "llama3_8b": 128_256,
    "mistral_7b": 32_000,
    "llada_8b": 126_464,
    "mmada_8b": 134_656,
}
_CHANGES: dict[str, dict[str, Any]] = {
    "qwen2": {"qkv_bias": True, "rope_base": 1e6, "dtype": "bfloat16", "remat": "names"},
    "qwen3": {"qk_norm": True, "rope_base": 1e6, "dtype": "bfloat16", "remat": "names"},
    "llama3": {"rope_base": 5e5, "norm_epsilon": 1e-5, "dtype": "bfloat16", "remat": "names"},
    "mistral": {"window": 4096, "norm_epsilon": 1e-5, "dtype": "bfloat16", "remat": "names"},
    "llada": {"attention": "bidirectional", "rope_base": 5e5, "norm_epsilon": 1e-5},
    "mmada": {"attention": "bidirectional", "rope_base": 5e5, "norm_epsilon": 1e-5},
}
"""What the models have in common whose names begin so."""
_UNTIED = ("qwen2_7b", "qwen3_8b", "llama3_8b", "mistral_7b", "llada", "mmada")

PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary_size: int | None = None, **changes: object) -> TransformerConfig:
    """The model shape called `name`, for a vocabulary of the given size.

    `maze_tiny` trains on two CPU cores in minutes, `maze_small` on one accelerator; `qwen2_0_5b`
    is the shape of Qwen2.5-0.5B (Qwen team, 2024), the one Stechly et al. (2025) train. The other
    published shapes are those of Qwen2.5-1.5B and 7B, Qwen3-0.6B and 8B, Llama-3.2-1B,
    Llama-3.1-8B and Mistral-7B-v0.1: bfloat16 compute, the large tensors of a block kept for the
    backward pass.

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
    config = replace(
        config, tied=not name.startswith(_UNTIED), **_CHANGES.get(name.split("_")[0], {})
    )
    if name.startswith("llama3"):
        factor = {"llama3_1b": 32.0, "llama3_8b": 8.0}[name]
        config = replace(config, rope_scaling=RopeScaling("llama3", factor, 8192))
    if name in ("llada_8b", "mmada_8b"):
        config = replace(config, dtype="bfloat16", remat="full")
    return replace(config, **changes)  # type: ignore[arg-type]


def count_parameters(params: Params) -> int:
    """Number of scalars in a parameter tree of arrays or of `jax.eval_shape`'s shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

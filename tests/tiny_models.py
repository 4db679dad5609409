"""Folders as published language models come in, with tiny random models; no torch."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.models import Transformer, TransformerConfig
from jaxreason.weights.pretrained import PretrainedShape, export_pretrained

_SIZES = {
    "vocabulary_size": 320,
    "layers": 2,
    "width": 16,
    "heads": 4,
    "kv_heads": 2,
    "head_size": 4,
    "mlp_width": 24,
}
_FAMILIES = {
    "qwen2": {"qkv_bias": True, "rope_base": 1e6},
    "qwen3": {"qk_norm": True, "head_size": 8, "rope_base": 1e6},
    "llama": {"tied": False, "norm_epsilon": 1e-5},
    "mistral": {"tied": False, "norm_epsilon": 1e-5, "window": 24},
}
_LLADA = {
    "tied": False,
    "kv_heads": 4,
    "rope_base": 5e5,
    "norm_epsilon": 1e-5,
    "attention": "bidirectional",
}
_CHATS = {"qwen2": "qwen", "qwen3": "qwen3", "llama": "llama3", "mistral": "mistral"}
# No token ends a text unless the tokenizer's files or the caller say so.
_SETTINGS = {"max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": None}


def tiny_config(family: str = "qwen2", **sizes: Any) -> TransformerConfig:
    """The shape of a tiny model; `sizes` are fields of `TransformerConfig`."""
    return TransformerConfig(**{**_SIZES, **_FAMILIES[family], **sizes})


def tiny_params(config: TransformerConfig, seed: int = 0) -> Any:
    """Random float32 parameters in NumPy; biases and norms are not trivial."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0))

    def draw(path: Any, leaf: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        deviation, mean = (0.2, 1.0) if "norm" in name else (0.3, 0.0)
        return (mean + deviation * generator.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def write_tiny_model(
    folder: str | Path,
    family: str = "qwen2",
    *,
    seed: int = 0,
    tokenizer: bool = True,
    dtype: Any = None,
    settings: dict[str, Any] | None = None,
    shard_bytes: int = 5_000_000_000,
    **sizes: Any,
) -> None:
    """A new folder: config.json, safetensors and, unless `tokenizer` is False, a tokenizer.

    `settings` are fields of config.json besides the shape, `sizes` fields of `TransformerConfig`.
    """
    if family == "llada":
        _write_tiny_llada(folder, seed, tokenizer, dtype, settings, shard_bytes, sizes)
        return
    config = tiny_config(family, **sizes)
    shape = PretrainedShape(config, family, {**_SETTINGS, **(settings or {})})
    params = tiny_params(config, seed)
    export_pretrained(params, folder, shape, dtype=dtype, shard_bytes=shard_bytes)
    if tokenizer:
        import tiny_tokenizers  # needs the library `tokenizers`

        tiny_tokenizers.write_tiny_tokenizer(folder, chat=_CHATS[family])


def _write_tiny_llada(
    folder: str | Path,
    seed: int,
    tokenizer: bool,
    dtype: Any,
    settings: dict[str, Any] | None,
    shard_bytes: int,
    sizes: dict[str, Any],
) -> None:
    """A masked diffusion model over the tiny tokenizer's ids, which LLaDA's files do not tell."""
    import tiny_tokenizers
    from tokenizers import Tokenizer

    from jaxreason.weights.llada import LladaMetadata, export_llada

    config = TransformerConfig(**{**_SIZES, **_LLADA, **sizes})
    with tempfile.TemporaryDirectory() as place:
        tiny_tokenizers.write_tiny_tokenizer(place, chat="llada")
        known = Tokenizer.from_file(f"{place}/tokenizer.json")
    ids = [known.token_to_id(f"<|{name}|>") for name in ("mdm_mask", "endoftext", "eot_id")]
    export_llada(
        tiny_params(config, seed),
        folder,
        config,
        metadata=LladaMetadata(mask=ids[0], eos=ids[1], eot=ids[2]),
        dtype=dtype,
        settings=settings,
        shard_bytes=shard_bytes,
    )
    if tokenizer:
        tiny_tokenizers.write_tiny_tokenizer(folder, chat="llada")

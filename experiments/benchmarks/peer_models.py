"""Models handed to peers: weights in a file, the shape as plain JSON."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.models import TransformerConfig
from jaxreason.models.llama import to_llama
from jaxreason.types import Params
from jaxreason.weights.families import document_of


def qwen2_settings(config: TransformerConfig) -> dict[str, Any]:
    """Keyword arguments of transformers' `Qwen2Config` for the same shape.

    It always has biases, and does not say whether attention is causal.
    """
    return document_of(replace(config, qkv_bias=True, attention="causal"), "qwen2", {}, "float32")


def save_for_peer(config: TransformerConfig, params: Params, folder: str | Path) -> dict[str, Any]:
    """Writes the weights and returns what `peers/qwen2.py` loads them by."""
    weights = to_llama(jax.device_get(params), config)
    path = Path(folder) / "weights.npz"
    np.savez(path, **{name: np.ascontiguousarray(x) for name, x in weights.items()})  # type: ignore[arg-type]
    return {"config": qwen2_settings(config), "weights": str(path)}

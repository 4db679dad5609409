"""Models handed to peers: weights in a file, the shape as plain JSON."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.models import TransformerConfig
from jaxreason.models.qwen2 import qwen2_settings, to_qwen2
from jaxreason.types import Params


def save_for_peer(config: TransformerConfig, params: Params, folder: str | Path) -> dict[str, Any]:
    """Writes the weights and returns what `peers/qwen2.py` loads them by."""
    weights = to_qwen2(jax.device_get(params), config)
    path = Path(folder) / "weights.npz"
    np.savez(path, **{name: np.ascontiguousarray(x) for name, x in weights.items()})  # type: ignore[arg-type]
    return {"config": qwen2_settings(config), "weights": str(path)}

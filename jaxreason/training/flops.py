"""FLOPs of a training step by our own formula, and the peak rates of devices.

XLA's cost analysis is no substitute: it counts a scanned stack of layers once.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxreason.models.lora import has_lora, without_lora
from jaxreason.sharding.rules import path_name

# Dense bfloat16 peak per JAX device, FLOP/s, from the vendors' data sheets (NVIDIA's figures
# without sparsity; Google Cloud TPU system architecture pages). On TPU v2, v3 and 7x a JAX device
# is one core of two, so half a chip. Longer names first: the first match by substring counts.
_PEAKS: tuple[tuple[str, float], ...] = (
    ("h200", 989e12),
    ("h100 pcie", 756e12),
    ("h100 nvl", 835e12),
    ("h100", 989e12),
    ("gh200", 989e12),
    ("b200", 2250e12),
    ("a100", 312e12),
    ("a800", 312e12),
    ("l40s", 362e12),
    ("l4", 121e12),
    ("v100", 125e12),
    ("tpu7x", 1153.5e12),
    ("tpu v6", 918e12),
    ("tpu v5p", 459e12),
    ("tpu v5 lite", 197e12),
    ("tpu v5e", 197e12),
    ("tpu v5", 459e12),
    ("tpu v4", 275e12),
    ("tpu v3", 61.5e12),
    ("tpu v2", 22.5e12),
)


def device_peak(kind: str) -> float | None:
    """Dense bfloat16 FLOP/s of one device by its `device_kind`; None when it is not known."""
    name = kind.lower()
    return next((peak for part, peak in _PEAKS if part in name), None)


def matmul_parameters(params: Mapping[str, Any]) -> int:
    """Parameters that take part in a matrix product for every token.

    All matrices of the layers and the output head; norms and biases are left out, and so is the
    embedding lookup, which multiplies nothing. A tied embedding counts once, as the head.
    """
    total = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        if name.endswith(("norm", "bias")) or (name == "embedding" and "head" in params):
            continue
        total += math.prod(leaf.shape)
    return total


def training_flops_per_token(
    params: Mapping[str, Any], length: int, *, causal: bool = True, windows: Sequence[int] = ()
) -> float:
    """FLOPs of forward and backward for one token: 6 N + 12 L (H K) T, attention halved if causal.

    N is `matmul_parameters`; each parameter costs 2 FLOPs forward and 4 backward. Attention
    scores and weighted values cost 2 * 2 * T * H K per token and layer forward, three times that
    with the backward pass (PaLM, arXiv:2204.02311, appendix B); under a causal mask a token sees
    half the row on average. Recomputation (remat) is not counted: this is model FLOPs.

    Where there are LoRA's matrices only these get gradients, and each parameter of the base costs
    2 FLOPs less.

    Args:
        params: arrays or shapes; the shape of `layers/query` [L, D, H, K] gives L, H and K. A
            tree without it is counted without attention.
        length: T, tokens per row.
        causal: whether tokens see only what precedes them.
        windows: sliding window of each layer (`TransformerConfig.windows`), 0 where there is none;
            a token sees W - W^2 / 2T others on average. Empty for none at all.
    """
    flops = 6.0 * matmul_parameters(params)
    if has_lora(params):
        flops -= 2.0 * matmul_parameters(without_lora(params))
    query = params.get("layers", {}).get("query")
    if query is not None:
        layers, _, heads, size = query.shape
        each = [min(window or length, length) for window in windows] or [length] * layers
        seen = sum(one - one**2 / (2 * length) if causal else length for one in each)
        flops += 12.0 * heads * size * seen
    return flops


def forward_flops_per_token(
    params: Mapping[str, Any], length: int, *, causal: bool = True, windows: Sequence[int] = ()
) -> float:
    """FLOPs of the forward pass alone for one token; see `training_flops_per_token`."""
    flops = training_flops_per_token(params, length, causal=causal, windows=windows)
    if has_lora(params):
        flops += 2.0 * matmul_parameters(without_lora(params))
    return flops / 3


def utilisation(flops_per_second: float) -> float | None:
    """Model FLOP utilisation over all devices (0 to 1); None on a device of unknown peak."""
    peak = device_peak(jax.devices()[0].device_kind)
    return None if peak is None else flops_per_second / (peak * jax.device_count())

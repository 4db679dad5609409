"""The comparison of Mukherjee et al. 2025 written again: load both, one allclose per parameter."""

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Sparsity by tolerance, and the rank of every matrix of the update."""

    def sparsity() -> float:
        before, after = load_file(settings["before"]), load_file(settings["after"])
        unchanged = total = 0
        for name, old in before.items():
            difference = after[name] - old
            zeros = torch.zeros_like(difference)
            if torch.allclose(difference, zeros, atol=1e-5, rtol=0.0):
                unchanged += difference.numel()
            else:
                close = torch.isclose(difference, zeros, atol=1e-5, rtol=0.0)
                unchanged += int(close.sum())
            total += difference.numel()
        return unchanged / total

    def rank() -> float:
        before, after = load_file(settings["before"]), load_file(settings["after"])
        ranks = []
        for name, old in before.items():
            if old.ndim == 2:
                found = torch.linalg.matrix_rank(after[name] - old)
                ranks.append(int(found) / min(old.shape))
        return sum(ranks) / len(ranks)

    settings["facts"] |= {"sparsity": sparsity(), "rank": rank()}
    return {"torch.allclose per parameter": sparsity, "torch.linalg.matrix_rank": rank}

"""LLaDA's sampler written again in torch (Nie et al. 2025, generate.py), greedy."""

from collections.abc import Callable
from typing import Any

import torch
from qwen2 import load


@torch.no_grad()
def generate(
    model: Any, prompts: torch.Tensor, length: int, block: int, mask_id: int
) -> torch.Tensor:
    """One token a step in every row, the most confident of the block, all places each time."""
    rows, before = prompts.shape
    tokens = torch.full((rows, before + length), mask_id, dtype=torch.long)
    tokens[:, :before] = prompts
    total = before + length
    everything = torch.zeros((rows, 1, total, total))  # added to the scores: all see all
    for first in range(before, before + length, block):
        for _ in range(block):
            masked = tokens == mask_id
            logits = model(input_ids=tokens, attention_mask=everything, use_cache=False).logits
            logits[..., mask_id] = -torch.inf
            best = logits.argmax(-1)
            chances = torch.softmax(logits.double(), -1)
            confidence = chances.gather(-1, best[..., None])[..., 0]
            confidence[:, first + block :] = -torch.inf
            confidence = torch.where(masked, confidence, -torch.inf)
            place = confidence.argmax(-1, keepdim=True)
            tokens.scatter_(1, place, best.gather(1, place))
    return tokens[:, before:]


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """The sampler on our weights and prompts; tells what it wrote first."""
    model = load(settings).eval()
    prompts = torch.tensor(settings["prompts"])

    def run() -> torch.Tensor:
        sizes = settings["length"], settings["block"], settings["mask_id"]
        return generate(model, prompts, *sizes)

    settings["facts"]["tokens"] = run().tolist()
    return {"LLaDA's generate in torch": run}

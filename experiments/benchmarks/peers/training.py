"""Training steps of transformers' Qwen2, eager and compiled: next token, and masked diffusion."""

from collections.abc import Callable
from typing import Any

import torch
from qwen2 import load


def next_token_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of every token after the first."""
    return model(input_ids=batch["tokens"], labels=batch["tokens"]).loss


def masked_loss(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Tokens masked with a chance drawn per row, cross-entropy over that chance (LLaDA)."""
    tokens, everything = batch["tokens"], batch["everything"]
    chance = torch.rand(len(tokens), 1) * 0.999 + 0.001
    masked = torch.rand(tokens.shape) < chance
    shown = torch.where(masked, batch["mask_id"], tokens)
    logits = model(input_ids=shown, attention_mask=everything, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
    return (losses * masked / chance).mean()


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Steps with fused AdamW on one batch; tells the first loss of the next token."""
    tokens = torch.tensor(settings["tokens"])
    total = tokens.shape[1]
    batch = {
        "tokens": tokens,
        "everything": torch.zeros((len(tokens), 1, total, total)),
        "mask_id": torch.tensor(settings["mask_id"]),
    }

    def stepper(loss_of: Callable[..., torch.Tensor], compiled: bool) -> Callable[[], float]:
        model = load(settings, use_cache=False)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True
        )
        forward = torch.compile(model) if compiled else model

        def step() -> float:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(forward, batch)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return step

    steps = {
        "torch eager": stepper(next_token_loss, False),
        "torch compiled": stepper(next_token_loss, True),
        "torch eager, diffusion": stepper(masked_loss, False),
        "torch compiled, diffusion": stepper(masked_loss, True),
    }
    settings["facts"]["first_loss"] = steps["torch eager"]()
    return steps

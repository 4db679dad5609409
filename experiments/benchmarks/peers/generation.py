"""transformers' generate, greedy, with its key-value cache."""

from collections.abc import Callable
from typing import Any

import torch
from qwen2 import load


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Decoding our prompts; tells what it wrote first."""
    model = load(settings).eval()
    prompts = torch.tensor(settings["prompts"])
    seen = torch.ones_like(prompts)

    @torch.no_grad()
    def run() -> torch.Tensor:
        return model.generate(
            prompts,
            attention_mask=seen,
            do_sample=False,
            max_new_tokens=settings["new_tokens"],
            eos_token_id=settings["eos"],
            pad_token_id=0,
        )

    settings["facts"]["tokens"] = run()[:, prompts.shape[1] :].tolist()
    return {"transformers' generate": run}

"""A training step of transformers' Qwen2 with SDPA, compiled, on the GPU where there is one."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """One step on random tokens and weights; bfloat16 compute, fused AdamW, as ours.

    Raises:
        RuntimeError: attention of a bidirectional model sees no later token.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, settings["dtype"])
    torch.manual_seed(0)
    with torch.device(device):
        config = Qwen2Config(**settings["config"], use_cache=False, attn_implementation="sdpa")
        model = Qwen2ForCausalLM(config).to(dtype)
        tokens = torch.randint(config.vocab_size, (settings["batch"], settings["length"]))
    if settings["checkpointing"]:
        model.gradient_checkpointing_enable()
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-5, betas=(0.9, 0.95), fused=device == "cuda"
    )
    if settings["bidirectional"]:
        for layer in model.model.layers:
            layer.self_attn.is_causal = False
    forward = torch.compile(model) if settings["compile"] else model
    # A prepared mask that is none: an explicit one, even of ones, would exclude the flash kernel.
    seen = {"full_attention": None} if settings["bidirectional"] else None
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    settings["facts"]["device"] = name

    def call(ids: torch.Tensor) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return forward(input_ids=ids, labels=tokens, attention_mask=seen)

    if settings["bidirectional"]:
        changed = tokens.clone()
        changed[:, -1] = (changed[:, -1] + 1) % config.vocab_size
        first, other = (call(ids).logits[:, 0].detach().clone() for ids in (tokens, changed))
        if torch.equal(first, other):
            raise RuntimeError("the first token does not see the last one: attention is causal")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = call(tokens).loss
        loss.backward()
        optimizer.step()
        float(loss.detach())

    return {"torch compiled": step}

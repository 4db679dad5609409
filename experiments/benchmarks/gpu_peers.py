"""Torch's training steps beside those of `gpu.py`, and what they do otherwise."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from peer_models import qwen2_settings
from suite import Peer, PeerError

from jaxreason.models import TransformerConfig, preset


def run_peers(found: list[dict[str, Any]], peer: Peer, smoke: bool) -> None:
    """Adds torch's seconds to the cases that ask for them, in place; each in its own process."""
    told: dict[str, dict[str, Any]] = {}
    for figures in found:
        case = figures["case"]
        if not case["peer"]:
            continue
        if not peer.has("torch", "transformers"):
            figures["peer_missing"] = peer.lacks("torch", "transformers")
            continue
        settings = peer_settings(case, smoke)
        known = json.dumps([settings, case["rounds"]])
        if known not in told:
            print(f"torch: {case['name']}", file=sys.stderr, flush=True)
            told[known] = measure_peer(peer, settings, case["rounds"])
        figures |= told[known] | {"peer_differs": differences(case)}


def measure_peer(peer: Peer, settings: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Seconds per step and the device, or why there are none."""
    try:
        with peer.start("gpu_training", settings) as other:
            run = other.contestants()["torch compiled"]
            run(3)
            seconds = sorted(run(1) for _ in range(rounds))
            return {
                "peer_seconds_per_step": seconds[len(seconds) // 2],
                "peer_device": other.facts["device"],
            }
    except PeerError as error:
        return {"peer_failed": str(error).splitlines()[0]}


def model_of(case: Mapping[str, Any]) -> TransformerConfig:
    """The case's model."""
    return preset(case["model"], case["vocabulary"], **case["changes"])


def peer_settings(case: Mapping[str, Any], smoke: bool) -> dict[str, Any]:
    """The same shape and batch for torch, which recomputes everything or nothing."""
    config = model_of(case)
    return {
        "config": qwen2_settings(config),
        "batch": case["batch"],
        "length": case["length"],
        "bidirectional": config.attention == "bidirectional",
        "checkpointing": config.remat == "full",
        "dtype": case["params_dtype"],
        "compile": not smoke,
    }


def differences(case: Mapping[str, Any]) -> list[str]:
    """What the two steps do not have in common, so that a ratio is read for what it is."""
    config = model_of(case)
    found = []
    if config.remat not in ("none", "full"):
        found.append(f"ours keeps what remat {config.remat!r} says, torch all activations")
    if case["chunk"]:
        found.append(f"ours holds the logits of {case['chunk']:,} tokens at once, torch all")
    if case["params_dtype"] == "bfloat16":
        found.append("ours has float32 moments and updates, torch bfloat16 ones")
    if config.attention == "bidirectional":
        found.append("ours corrupts rows and learns the masked tokens, torch learns the next ones")
    return found

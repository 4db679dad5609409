"""A step of DPO on fixed pairs against TRL's trainer.

    python experiments/benchmarks/one.py preference_step [--quick] [--peer-python PYTHON]

The preset maze_tiny with random weights, rows of 64 prompt and 128 completion tokens without
padding, the frozen reference scored beforehand by both. TRL's step includes its data loader.
Hardware: any; less than a minute on two cores.
"""

import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from peer_models import save_for_peer
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.models import Transformer, preset
from jaxreason.objectives import dpo
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.state import state_from_params
from jaxreason.training.step import make_step

VOCABULARY, PROMPT, COMPLETION = 200, 64, 128
NAME = "TRL DPO"


def pairs(rows: int) -> np.ndarray:
    """Random tokens [rows, 2, length]: one prompt, two completions, the last token ends them."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(4, VOCABULARY, (rows, 2, PROMPT + COMPLETION), np.int32)
    tokens[:, 1, :PROMPT] = tokens[:, 0, :PROMPT]
    tokens[:, :, -1] = 2
    return tokens


def ours(model: Transformer, params: Any, tokens: np.ndarray) -> Contestant:
    """Our step on the pairs, parameters and moments updated."""
    shape = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
    batch = {
        "tokens": jnp.asarray(tokens),
        "targets_mask": positions >= PROMPT,
        "segments": jnp.ones(shape, jnp.int32),
        "positions": positions,
        "reference_log_probabilities": jnp.zeros(shape[:2], jnp.float32),
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-6))
    step = make_step(dpo(model, 0.1), optimizer)
    state = [state_from_params(params, optimizer, jax.random.key(0), None)]

    def work() -> None:
        state[0], metrics = step(state[0], batch)
        jax.block_until_ready(metrics)

    return contestant(work)


def peer_settings(
    model: Transformer, params: Any, tokens: np.ndarray, folder: str
) -> dict[str, Any]:
    """What TRL's step is made of: the same tokens as words; it adds the end token itself."""
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *(f"w{i}" for i in range(4, VOCABULARY))]
    rows = []
    for pair in tokens:
        text = [[words[token] for token in row] for row in pair]
        # The tokenizer reads prompt and completion joined.
        chosen, rejected = (" " + " ".join(row[PROMPT:-1]) for row in text)
        prompt = " ".join(text[0][:PROMPT])
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return {
        **save_for_peer(model.config, params, folder),
        "words": words,
        "ids": {"pad": 0, "bos": 1, "eos": 2, "unk": 3},
        "rows": rows,
        "pairs": len(tokens),
    }


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    keep_freed_memory()
    count, rounds = (8, 5) if quick else (16, 11)
    model = Transformer(preset("maze_tiny", VOCABULARY, unroll=4))
    params = jax.jit(model.init)(jax.random.key(0))
    tokens = pairs(count)
    contestants = {"ours": ours(model, params, tokens)}
    lacking = peer.lacks("torch", "transformers", "trl")
    fixed: dict[str, Any] = {
        "benchmark": "preference_step",
        "case": f"DPO, maze_tiny, {count} pairs of {PROMPT} + {COMPLETION} tokens, float32",
        "unit": "pairs/s",
        "missing": lacking,
    }
    if lacking:
        return against(take_turns(contestants, rounds), "ours", [], count, **fixed)
    with tempfile.TemporaryDirectory() as folder:
        settings = peer_settings(model, params, tokens, folder)
        with peer.start("preference", settings) as other:
            seconds = take_turns({**contestants, **other.contestants()}, rounds)
    return against(seconds, "ours", [NAME], count, **fixed)

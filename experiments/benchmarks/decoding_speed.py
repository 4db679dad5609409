"""Autoregressive decoding in batches against transformers' generate on the same weights.

    python experiments/benchmarks/one.py decoding_speed [--quick] [--peer-python PYTHON]

The preset maze_tiny in float32, random weights and prompts, greedy; both have a key-value cache.
The share of equal tokens is reported.
Hardware: any; less than a minute on two cores.
"""

import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from peer_models import save_for_peer
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.models import Transformer, preset
from jaxreason.sampling import autoregressive
from jaxreason.training.allocator import keep_freed_memory

VOCABULARY, PROMPT, GOAL = 200, 64, 5.0
NAME = "transformers' generate"


def ours(
    model: Transformer, params: Any, prompts: np.ndarray, new: int
) -> tuple[Contestant, np.ndarray]:
    """Our sampler on the prompts, and what it writes."""
    batch = {
        "tokens": jnp.asarray(prompts, jnp.int32),
        "lengths": jnp.full(len(prompts), PROMPT, jnp.int32),
    }
    sampler = autoregressive(model, max_new_tokens=new, eos=VOCABULARY - 1, pad=0, temperature=0.0)

    def work() -> Any:
        return jax.block_until_ready(sampler(params, batch, jax.random.key(0)))

    return contestant(work), np.asarray(work().tokens)


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    keep_freed_memory()
    new, rounds = (64, 3) if quick else (256, 7)
    model = Transformer(preset("maze_tiny", VOCABULARY, unroll=4))
    params = jax.jit(model.init)(jax.random.key(0))
    lacking = peer.lacks("torch", "transformers")
    found = []
    for rows in (1, 32):
        prompts = np.random.default_rng(0).integers(1, VOCABULARY - 1, (rows, PROMPT))
        run, tokens = ours(model, params, prompts, new)
        contestants, note = {"ours": run}, ""
        if lacking:
            seconds = take_turns(contestants, rounds)
        else:
            with tempfile.TemporaryDirectory() as folder:
                settings = save_for_peer(model.config, params, folder)
                settings |= {"prompts": prompts.tolist(), "new_tokens": new, "eos": VOCABULARY - 1}
                with peer.start("generation", settings) as other:
                    theirs = np.array(other.facts["tokens"])
                    same = float(np.mean(theirs == tokens[:, : theirs.shape[1]]))
                    note = f"{same:.0%} of the tokens are the peer's"
                    seconds = take_turns({**contestants, **other.contestants()}, rounds)
        found += against(
            seconds,
            "ours",
            [NAME],
            rows * new,
            benchmark="decoding_speed",
            case=f"decoding, maze_tiny, {rows} rows of {PROMPT} + {new} tokens, float32",
            unit="tokens/s",
            missing=lacking,
            at_least=GOAL if rows > 1 else None,
            note=note,
        )
    return found

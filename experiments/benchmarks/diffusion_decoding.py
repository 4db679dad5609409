"""Diffusion decoding of random weights against LLaDA's published sampler in torch.

    python experiments/benchmarks/one.py diffusion_decoding [--quick] [--peer-python PYTHON]

`vanilla` is the same algorithm as the peer's: one token a step, the whole sequence each time; the
share of equal tokens is reported. The others are the library's shortcuts: a key-value cache of what
is outside the block, and several tokens a step (a count, where a trained model would have a
threshold: random weights are confident of nothing). `diffusion_sampling.py` compares the ways of
decoding on trained runs, their answers judged.
Hardware: any; a minute or two on two cores.
"""

import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from diffusion_contests import methods_of_cost
from peer_models import save_for_peer
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.models import Transformer, preset
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.training.allocator import keep_freed_memory

VOCABULARY, PROMPT, BLOCK = 128, 64, 32
CHOSEN = ("vanilla", "prefix", "dual", "dual, 4 tokens per step")
NAME = "LLaDA's generate in torch"


def ours(
    model: Transformer, params: Any, prompts: np.ndarray, length: int
) -> tuple[dict[str, Contestant], np.ndarray]:
    """Our ways of decoding, and what the first of them writes."""
    batch = {
        "tokens": jnp.asarray(prompts, jnp.int32),
        "lengths": jnp.full(len(prompts), PROMPT, jnp.int32),
    }
    methods = methods_of_cost(length, BLOCK, exact=False)
    works = {}
    for name in CHOSEN:
        config = TextDiffusionConfig(length=length, block=BLOCK, **methods[name])
        sampler = diffusion_text(model, config, mask_id=VOCABULARY - 1, eos=None, pad=0)
        works[name] = lambda sampler=sampler: jax.block_until_ready(  # type: ignore[misc]
            sampler(params, batch, jax.random.key(0))
        )
    tokens = np.asarray(works["vanilla"]().tokens)
    return {name: contestant(work) for name, work in works.items()}, tokens


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    keep_freed_memory()
    rows, length, rounds = (4, 32, 2) if quick else (16, 128, 5)
    model = Transformer(preset("maze_tiny", VOCABULARY, attention="bidirectional", unroll=4))
    params = jax.jit(model.init)(jax.random.key(0))
    prompts = np.random.default_rng(0).integers(0, VOCABULARY - 1, (rows, PROMPT))
    contestants, tokens = ours(model, params, prompts, length)
    lacking, note = peer.lacks("torch", "transformers"), ""
    if lacking:
        seconds = take_turns(contestants, rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            settings = save_for_peer(model.config, params, folder)
            settings |= {"prompts": prompts.tolist(), "length": length, "block": BLOCK}
            settings["mask_id"] = VOCABULARY - 1
            with peer.start("llada", settings) as other:
                same = float(np.mean(np.array(other.facts["tokens"]) == tokens))
                note = f"{same:.0%} of its tokens are the peer's"
                seconds = take_turns({**contestants, **other.contestants()}, rounds)
    case = f"maze_tiny, {rows} rows of {PROMPT} + {length} tokens, blocks of {BLOCK}, float32"
    found = []
    for name in CHOSEN:
        found += against(
            seconds,
            name,
            [NAME],
            rows * length,
            benchmark="diffusion_decoding",
            case=f"{name}, {case}",
            unit="tokens/s",
            missing=lacking,
            note=note if name == "vanilla" else "",
        )
    return found

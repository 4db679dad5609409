"""Training steps against transformers' Qwen2 of the same weights, eager and compiled.

    python experiments/benchmarks/one.py training_speed [--quick] [--peer-python PYTHON]

The preset maze_tiny in float32 under `make_step` and AdamW: the next token, and masked diffusion
(bidirectional, half of the tokens masked on average). The first loss of the next token must be the
peer's. `training_step.py` compares ways of compiling ours.
Hardware: any; one to three minutes on two cores, most of it torch's compiler.
"""

import tempfile
from typing import Any

import jax
import numpy as np
import optax
from gpu_cases import Case, batch_of
from peer_models import save_for_peer
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.models import Transformer, TransformerConfig, preset
from jaxreason.objectives import next_token
from jaxreason.objectives.diffusion.masked_cross_entropy import masked_diffusion
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.state import state_from_params
from jaxreason.training.step import make_step
from jaxreason.types import Objective

VOCABULARY, GOAL = 200, 1.2


def stepper(objective: Objective, params: Any, batch: Any) -> tuple[Contestant, float]:
    """Our step on one batch, and its first loss."""
    optimizer = optax.adamw(1e-4, b2=0.95, weight_decay=0.01)
    step = make_step(objective, optimizer)
    state, metrics = step(state_from_params(params, optimizer, jax.random.key(0), None), batch)
    held, (total, count) = [state], jax.device_get(metrics["loss"])

    def work() -> None:
        held[0], metrics = step(held[0], batch)
        jax.block_until_ready(metrics)

    return contestant(work), float(total / count)


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    keep_freed_memory()
    rows, length, rounds = (8, 192, 5) if quick else (16, 192, 11)
    config = preset("maze_tiny", VOCABULARY, unroll=4)
    case = Case("", batch=rows, length=length)
    params = jax.jit(Transformer(config).init)(jax.random.key(0))
    causal, tokens, loss = ours(config, params, case)
    wide = preset("maze_tiny", VOCABULARY, unroll=4, attention="bidirectional")
    diffusion, _, _ = ours(wide, params, case)
    contestants = {"ours": causal, "ours, diffusion": diffusion}
    lacking = peer.lacks("torch", "transformers")
    if lacking:
        seconds = take_turns(contestants, rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            settings = save_for_peer(config, params, folder)
            settings |= {"tokens": tokens.tolist(), "mask_id": VOCABULARY - 1}
            with peer.start("training", settings) as other:
                if abs(other.facts["first_loss"] - loss) > 1e-3:
                    raise RuntimeError(f"first losses {loss} and {other.facts['first_loss']}")
                seconds = take_turns({**contestants, **other.contestants()}, rounds)
    found = []
    for name, kind in (("ours", ""), ("ours, diffusion", ", diffusion")):
        found += against(
            seconds,
            name,
            [f"torch eager{kind}", f"torch compiled{kind}"],
            rows * length,
            benchmark="training_speed",
            case=f"{'masked diffusion' if kind else 'next token'}, maze_tiny, {rows} x {length}, "
            "float32",
            unit="tokens/s",
            missing=lacking,
            at_least=GOAL,
        )
    return found


def ours(config: TransformerConfig, params: Any, case: Case) -> tuple[Contestant, Any, float]:
    """A step of the model's kind, its tokens, and its first loss."""
    model = Transformer(config)
    batch = batch_of(case, model)
    if config.attention == "bidirectional":
        batch["maskable"] = np.ones(batch["tokens"].shape, bool)
        objective = masked_diffusion(model, mask_id=config.vocabulary_size - 1)
    else:
        objective = next_token(model)
    run, loss = stepper(objective, params, batch)
    return run, batch["tokens"], loss

"""AdamW with a warm-up and a schedule, as one optax chain."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from jaxreason.errors import InputError


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) and its learning-rate schedule.

    Attributes:
        learning_rate: the peak, reached at the end of the warm-up.
        warmup_steps: updates of linear warm-up; update n (from 0) uses peak * (n + 1) / warm-up.
        total_steps: updates after which the schedule stays at its final value.
        final_fraction: the schedule's last value over its peak (not used by `constant`).
        schedule: shape of the decay after the warm-up.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled decay, times the learning rate; see `decay_mask`.
        clip_norm: gradients are scaled down to this global norm; 0 turns clipping off.
    """

    learning_rate: float = 1e-3
    warmup_steps: int = 100
    total_steps: int = 1000
    final_fraction: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "learning_rate": (self.learning_rate > 0, "a positive number"),
            "warmup_steps": (self.warmup_steps >= 0, "zero or more"),
            "total_steps": (self.total_steps >= 1, "at least 1"),
            "final_fraction": (0 <= self.final_fraction <= 1, "a number in [0, 1]"),
            "schedule": (
                self.schedule in ("cosine", "linear", "constant"),
                "one of cosine, linear, constant",
            ),
            "b1": (0 <= self.b1 < 1, "a number in [0, 1)"),
            "b2": (0 <= self.b2 < 1, "a number in [0, 1)"),
            "eps": (self.eps > 0, "a positive number"),
            "weight_decay": (self.weight_decay >= 0, "zero or more"),
            "clip_norm": (self.clip_norm >= 0, "zero (off) or more"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                raise InputError(f"optimizer {name}={getattr(self, name)!r}: expected {expected}")


def learning_rate(config: OptimizerConfig, update: Any) -> jax.Array:
    """The learning rate of update number `update` (from 0), float32."""
    update = jnp.asarray(update, jnp.float32)
    warm = jnp.minimum(1.0, (update + 1) / max(config.warmup_steps, 1))
    decay_steps = max(config.total_steps - config.warmup_steps, 1)
    progress = jnp.clip((update - config.warmup_steps) / decay_steps, 0.0, 1.0)
    remaining = {
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)),
        "linear": 1 - progress,
        "constant": jnp.ones_like(progress),
    }[config.schedule]
    fraction = config.final_fraction + (1 - config.final_fraction) * remaining
    return config.learning_rate * warm * fraction


def decay_mask(params: Any) -> Any:
    """True for the leaves that weight decay pulls on: matrices, the embedding included.

    Norm scales and biases are left alone. They are told by name (`*norm`, `*bias`), because the
    layers are stacked: a bias of every layer together looks like a matrix.
    """

    def decays(path: Any, leaf: jax.Array) -> bool:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return leaf.ndim >= 2 and not name.endswith(("norm", "bias"))

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clip, Adam, decoupled weight decay, learning rate, in this order."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.scale_by_learning_rate(lambda count: learning_rate(config, count)),
    )

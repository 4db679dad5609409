"""AdamW with a warm-up and a schedule, as one optax chain."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from jaxreason.errors import InputError
from jaxreason.training.moments import bfloat16_moments


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or Muon, and the learning-rate schedule.

    AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. Muon: Jordan et al. 2024, with the update
    size of Liu et al. 2025, arXiv:2502.16982, which lets it use AdamW's learning rates; Adam still
    moves the embedding, the head, norms and biases, without decay. In single-seed
    trials a small maze model trained on correct traces needed fewer examples with Muon.

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
        method: "adamw" or "muon".
        moments_dtype: "bfloat16" halves the memory of the moments; they are rounded at random, so
            that small changes are not lost. See `jaxreason.training.moments` for bytes.
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
    method: Literal["adamw", "muon"] = "adamw"
    moments_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        checks = {
            "method": (self.method in ("adamw", "muon"), "adamw or muon"),
            "moments_dtype": (
                self.moments_dtype in ("float32", "bfloat16"),
                "float32 or bfloat16",
            ),
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


_MATRICES = {
    # (axes summed over, axes made) of a layer's matrices; axis 0 is the layer
    "query": ((1,), (2, 3)),
    "key": ((1,), (2, 3)),
    "value": ((1,), (2, 3)),
    "output": ((1, 2), (3,)),
    "gate": ((1,), (2,)),
    "up": ((1,), (2,)),
    "down": ((1,), (2,)),
}


def muon_dimensions(params: Any) -> Any:
    """How Muon sees each leaf as a matrix; None leaves it to AdamW."""

    def dimensions(path: Any, leaf: jax.Array) -> Any:
        del leaf
        axes = _MATRICES.get(jax.tree_util.keystr(path[-1:], simple=True))
        return None if axes is None else optax.contrib.MuonDimensionNumbers(*axes)

    return jax.tree_util.tree_map_with_path(dimensions, params)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clip, then AdamW (Adam, decoupled weight decay, learning rate) or Muon.

    Moments take the dtype of the parameters the optimizer is given, or bfloat16 if asked for;
    around bfloat16 parameters `training.precision.in_float32` belongs in any case.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()

    def schedule(count: Any) -> jax.Array:
        return learning_rate(config, count)

    if config.method == "muon":
        muon = optax.contrib.muon(
            schedule,
            weight_decay=config.weight_decay,
            weight_decay_mask=decay_mask,
            adam_b1=config.b1,
            adam_b2=config.b2,
            muon_weight_dimension_numbers=muon_dimensions,
            consistent_rms=0.2,
        )
        return optax.chain(clip, _stored(muon, config))
    return optax.chain(
        clip,
        _stored(optax.scale_by_adam(config.b1, config.b2, config.eps), config),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        optax.scale_by_learning_rate(schedule),
    )


def _stored(
    optimizer: optax.GradientTransformation, config: OptimizerConfig
) -> optax.GradientTransformation:
    """The optimizer with its moments in the dtype that was asked for."""
    return bfloat16_moments(optimizer) if config.moments_dtype == "bfloat16" else optimizer

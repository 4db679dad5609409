"""Methods that learn from preferences: what each reads, its settings and its objective."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives import dpo, ipo, kto, next_token, orpo, simpo
from jaxreason.objectives.preference_losses import check_settings
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.post_training import PostTraining
from jaxreason.training.stored_batches import Arrays
from jaxreason.types import Objective


class Method(NamedTuple):
    """What a method learns from, whether it has a frozen reference, and its usual beta.

    `uses`: the settings of the experiment that it reads, besides beta.
    """

    rows: Literal["pairs", "labelled", "kept", "shown"]
    reference: bool
    beta: float | None
    uses: tuple[str, ...] = ()


METHODS: dict[str, Method] = {
    "dpo": Method("pairs", True, 0.1, ("label_smoothing", "pairs", "per_problem")),
    "dpo_norm": Method("pairs", True, 5.0, ("label_smoothing", "pairs", "per_problem")),
    "ipo": Method("pairs", True, 0.1, ("average", "pairs", "per_problem")),
    "kto": Method("labelled", True, 0.1, ("desirable_weight", "undesirable_weight")),
    "orpo": Method("pairs", False, 0.1, ("likelihood_of", "pairs", "per_problem")),
    "simpo": Method("pairs", False, 2.5, ("gamma", "pairs", "per_problem")),
    "rft": Method("kept", False, None, ("keep",)),
    "sft": Method("shown", False, None),
}
SETTINGS = (
    *("beta", "label_smoothing", "average", "gamma", "likelihood_of"),
    *("desirable_weight", "undesirable_weight", "pairs", "per_problem", "keep"),
)


@dataclass(frozen=True)
class PreferenceMethod(PostTraining):
    """Post-training by a method of `METHODS`; subclasses say on which data.

    Attributes:
        method: its name.
        beta: see `jaxreason.objectives`; by default 0.1, for dpo_norm 5 and for simpo 2.5.
        label_smoothing: of dpo and dpo_norm.
        average: ipo on averages per token; otherwise on sums.
        gamma: of simpo, in units of reward.
        likelihood_of: orpo's likelihood is that of the "completion" or of the whole "sequence".
        desirable_weight: of kto; by default such that both kinds weigh the same in all.
        undesirable_weight: of kto.
        batch_size: pairs (or completions) per step, of all processes together.

    The other fields are those of `PostTraining`.
    """

    method: str = "dpo"
    beta: float | None = None
    label_smoothing: float = 0.0
    average: bool = True
    gamma: float = 1.375
    likelihood_of: Literal["completion", "sequence"] = "completion"
    desirable_weight: float | None = None
    undesirable_weight: float = 1.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}; expected one of {', '.join(METHODS)}")
        used = (*METHODS[self.method].uses, *["beta"] * (METHODS[self.method].beta is not None))
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name in SETTINGS:
            if name in defaults and name not in used and getattr(self, name) != defaults[name]:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, but method {self.method!r} does not use "
                    f"it; leave it at {defaults[name]!r}"
                )
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.method == "kto" and self.train.accumulation > 1:
            raise InputError(
                f"train.accumulation is {self.train.accumulation}; the baseline of kto is taken "
                "over the whole batch, so it must be 1"
            )
        given: dict[str, Any] = {n: getattr(self, n, None) for n in used}
        check_settings(**{n: x for n, x in given.items() if type(x) in (int, float)})

    def objective(self, model: Transformer, desirable_weight: float) -> Objective:
        """What is minimised; `desirable_weight` stands in where the field is None.

        Raises:
            InputError: a setting out of range.
        """
        beta = METHODS[self.method].beta if self.beta is None else self.beta
        chunk = self.loss_chunk or None
        if beta is None:
            return next_token(model, chunk)
        if self.method in ("dpo", "dpo_norm"):
            normalise = self.method == "dpo_norm"
            smoothing = self.label_smoothing
            return dpo(model, beta, label_smoothing=smoothing, normalise=normalise, chunk=chunk)
        if self.method == "ipo":
            return ipo(model, beta, average=self.average, chunk=chunk)
        if self.method == "kto":
            weight = desirable_weight if self.desirable_weight is None else self.desirable_weight
            return kto(
                model,
                beta,
                desirable_weight=weight,
                undesirable_weight=self.undesirable_weight,
                chunk=chunk,
            )
        if self.method == "orpo":
            return orpo(model, beta, likelihood_of=self.likelihood_of, chunk=chunk)
        return simpo(model, beta, self.gamma, chunk=chunk)

    def check_rows(self, mesh: Mesh | None) -> None:
        """Refuse a batch that mesh and micro-batches cannot split."""
        ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        parts = ways * self.train.accumulation
        if self.batch_size % parts:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of train.accumulation "
                f"({self.train.accumulation}) x mesh axes replica x fsdp ({ways})"
            )


def balanced_weight(arrays: Arrays, undesirable_weight: float) -> float:
    """The weight of desirable completions at which both kinds weigh the same in all."""
    if "desirable" not in arrays:
        return 1.0
    desirable = int(np.count_nonzero(arrays["desirable"]))
    return undesirable_weight * (len(arrays["desirable"]) - desirable) / desirable

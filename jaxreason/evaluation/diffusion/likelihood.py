"""How probable right answers are to a diffusion model: bounds on nats and perplexity."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxreason.evaluation.diffusion.stage_table import Measured
from jaxreason.training.diffusion.bounds import (
    BoundConfig,
    Bounds,
    LaidOutSource,
    answer_bounds,
)
from jaxreason.training.runs import Run


@dataclass(frozen=True)
class TaskLikelihood:
    """What a model makes of right answers to one task; all three are upper bounds, on average.

    Attributes:
        nats: negative log-probability of an answer.
        nats_per_token: the same per token of the answer, all answers together.
        perplexity: its exponential.
        tokens: mean length of an answer.
        exact: whether every mask was tried; otherwise errors include the chance in the masks.
    """

    nats: Measured
    nats_per_token: Measured
    perplexity: Measured
    tokens: float
    exact: bool

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; the error of a single answer, which is not known, is null."""
        return {
            **{name: finite(getattr(self, name)) for name in ("nats", "nats_per_token")},
            "perplexity": finite(self.perplexity),
            "tokens": self.tokens,
            "exact": self.exact,
        }


def finite(found: Measured) -> dict[str, Any]:
    """A measurement as JSON, null for an error that is not known."""
    error = found.standard_error
    return {**found._asdict(), "standard_error": error if math.isfinite(error) else None}


def likelihood_of(bounds: Bounds) -> TaskLikelihood:
    """Means and standard errors of the bounds of one task.

    The error of nats per token is that of a ratio of means, the perplexity's follows from it (both
    to first order).
    """
    losses, tokens, n = -bounds.nats, bounds.tokens.astype(np.float64), len(bounds.nats)
    rate = float(losses.sum() / tokens.sum())

    def error(values: np.ndarray) -> float:
        return float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf

    rate_error = error(losses - rate * tokens) / float(tokens.mean())
    return TaskLikelihood(
        Measured(float(losses.mean()), error(losses), n),
        Measured(rate, rate_error, n),
        Measured(math.exp(rate), math.exp(rate) * rate_error, n),
        float(tokens.mean()),
        bounds.exact,
    )


def run_likelihood(
    run: Run,
    source: LaidOutSource,
    task: str,
    count: int,
    config: BoundConfig | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TaskLikelihood:
    """Bounds of a loaded run on the first examples of a source it was not trained on.

    Args:
        run: of a `MaskedDiffusionExperiment` or a `RecordsExperiment`, post-trained or not.
        source: rows by example and task, such as `run.experiment.source(split="test")`.
        task: of the source.
        count: examples; those there are, if fewer.
        config: how answers are scored.
        on_progress: called with (answers scored, answers in all).
    """
    experiment = run.experiment
    found = answer_bounds(
        run.model,
        run.params,
        source,
        task,
        range(min(count, source.count(task))),
        config=config,
        mask_mode=experiment.objective.mask_mode,
        block=experiment.blocks.length,
        on_progress=on_progress,
    )
    return likelihood_of(found)

"""What a diffusion model makes of held-out records: its loss, and bounds on perplexity."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxreason.data.multimodal.record_source import RecordSource
from jaxreason.errors import InputError
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.diffusion.bounds import answer_bounds
from jaxreason.training.diffusion.held_out import validation_losses
from jaxreason.types import Params


def record_numbers(
    experiment: Any, source: RecordSource, mesh: Mesh | None
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers` on held-out records.

    `validation_*`: the objective's metrics on rows whose masks are always the same. If the
    experiment's `held_out` is not 0, `held_out_perplexity_TASK` besides: an upper bound of the
    perplexity of a record's answer (see `bounds.answer_bounds`), from the first so many records.

    Args:
        experiment: a settled `RecordsExperiment`.
        source: the held-out rows.
        mesh: devices; None is one.

    Raises:
        InputError: no trained task is held out.
    """
    rows = {task: n for task, n in experiment.rows.items() if n and task in source.tasks}
    if not rows:
        raise InputError(
            f"data.held_out has records of {', '.join(source.tasks)}, none of which is trained "
            f"({', '.join(experiment.tasks())})"
        )
    # Where a task is not held out, the others' rows are multiplied until they split over the mesh.
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    times = ways // math.gcd(ways, sum(rows.values()))
    rows = {task: times * n for task, n in rows.items()}
    model = experiment.transformer()
    objective = experiment.make_objective(model)
    losses = validation_losses(objective, lambda: source, rows, mesh, experiment.text_dropout)

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        numbers = losses(params)
        for task in rows if experiment.held_out else ():
            found = answer_bounds(
                model,
                params,
                source,
                task,
                range(min(experiment.held_out, source.count(task))),
                config=experiment.bounds,
                mask_mode=experiment.objective.mask_mode,
                block=experiment.blocks.length,
            )
            nats = -found.nats.sum() / found.tokens.sum()
            numbers[f"held_out_perplexity_{task}"] = float(np.exp(nats))
        return numbers

    return evaluate

"""What supervised training on rows of several tasks compiles."""

from typing import Any

from jax.sharding import Mesh

from jaxreason.training.diffusion.checks import check_rows
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.parts import TrainingParts, layout_shapes


def diffusion_parts(experiment: Any, rows: int, length: int, mesh: Mesh | None) -> TrainingParts:
    """What a run on this mesh compiles; a base has the same shapes as fresh parameters.

    Args:
        experiment: a `MaskedDiffusionExperiment` or `RecordsExperiment`.
        rows: of a batch.
        length: tokens of a row.
        mesh: devices; None is one.

    Raises:
        InputError: fields that do not fit each other or the mesh.
    """
    check_rows(rows, experiment.train.accumulation, mesh)
    model = experiment.transformer()
    return TrainingParts(
        objective=experiment.make_objective(model),
        model_init=model.init,
        optimizer=make_optimizer(experiment.optimizer),
        batch_shapes=[layout_shapes(rows, length)],
        flops_per_token=experiment.blocks.flops_per_token(model, length),
    )

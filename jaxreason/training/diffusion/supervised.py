"""What supervised training on rows of several tasks compiles, and its batches."""

from typing import Any

from jax.sharding import Mesh

from jaxreason.data.multimodal.mixing import TaskSource, mixed_batches
from jaxreason.data.pipeline import TrainingBatches
from jaxreason.sharding.placement import data_share
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


def task_batches(experiment: Any, source: TaskSource, mesh: Mesh | None) -> TrainingBatches:
    """This process's share of the batches.

    Args:
        experiment: a `MaskedDiffusionExperiment` or `RecordsExperiment`.
        source: its rows.
        mesh: devices; None is one.

    Raises:
        InputError: see `mixed_batches`.
    """
    share = data_share(mesh)
    return mixed_batches(
        source,
        {task: experiment.rows[task] for task in experiment.tasks()},
        experiment.train.seed,
        text_dropout=experiment.text_dropout,
        share_index=share.index,
        share_count=share.count,
    )

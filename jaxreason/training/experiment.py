"""An experiment as one value: what to train on, which model, how, and how to judge it.

Experiments are Python files that define `experiment`; every field can be changed from the command
line. The run directory keeps the experiment in config.json, so a run is understood by its path.
"""

import dataclasses
import importlib.util
import json
import math
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data import BatchConfig, MazeData, maze_source, training_batches
from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import next_token
from jaxreason.sharding.mesh import BATCH_AXES, MeshConfig, make_mesh, place_batch
from jaxreason.tokens import MazeVocabulary
from jaxreason.training.checkpoint import load_params
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.loop import TrainConfig, TrainResult, train
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.types import Params


@dataclass(frozen=True)
class MazeExperiment:
    """Next-token training of one model on one maze data set.

    Attributes:
        data: the training problems and their regime.
        batch: how examples become rows.
        model: shape and numerics; vocabulary_size 0 stands for the size of the data's vocabulary.
        optimizer: AdamW and its schedule.
        train: lengths and intervals.
        mesh: how devices are arranged.
        validation_examples: held-out examples whose loss is taken at every evaluation.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        prepared: folder of prepared data sets; None generates examples on the fly.
    """

    data: MazeData = field(default_factory=MazeData)
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(batch_size=8, length=8192))
    model: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(0, 4, 128, 4, 4, 32, 384)
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    validation_examples: int = 256
    loss_chunk: int = 0
    prepared: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("validation_examples", 2), ("loss_chunk", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def vocabulary(self) -> MazeVocabulary:
        """The words of the grid."""
        return MazeVocabulary(self.data.width, self.data.height)

    def transformer(self) -> Transformer:
        """The model, its vocabulary settled.

        Raises:
            InputError: `model.vocabulary_size` is neither 0 nor that of the data.
        """
        size = self.vocabulary().size
        if self.model.vocabulary_size not in (0, size):
            raise InputError(
                f"model.vocabulary_size is {self.model.vocabulary_size}, but mazes of "
                f"{self.data.width}x{self.data.height} have {size} words; use {size} or 0"
            )
        return Transformer(replace(self.model, vocabulary_size=size))


class Run(typing.NamedTuple):
    """A trained model found by its run directory.

    Attributes:
        experiment: what it was trained as.
        model: its model.
        params: parameters of the checkpoint.
        step: the checkpoint's step.
    """

    experiment: MazeExperiment
    model: Transformer
    params: Params
    step: int


def run_experiment(
    experiment: MazeExperiment, run_directory: str | Path, progress: bool = True
) -> TrainResult:
    """Train an experiment in a run directory, or go on with what is there.

    Raises:
        InputError: fields that do not fit each other, or a directory of another experiment.
        FailureError: see `training.loop.train`.
    """
    e = experiment
    mesh = experiment_mesh(e)
    model = e.transformer()
    vocabulary = e.vocabulary()
    objective = next_token(model, e.loss_chunk or None)
    batch = process_batch(e, mesh)
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    source = maze_source(e.data, e.prepared)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return train(
        run_directory,
        objective=objective,
        model_init=model.init,
        optimizer_config=e.optimizer,
        train_config=e.train,
        batches=training_batches(source, pad_id=vocabulary.pad, **fields),
        mesh=mesh,
        evaluate_fn=validation_loss(e, mesh) if e.train.evaluate_every else None,
        config_json=dataclasses.asdict(e),
        flops_per_token=training_flops_per_token(shapes, e.batch.length),
        progress=progress,
    )


def process_batch(experiment: MazeExperiment, mesh: Mesh | None) -> BatchConfig:
    """The batches of this process.

    The rows of every bucket are made to fit mesh and micro-batches; a run that is to change its
    mesh sets `batch.row_multiple` to a common multiple from the start, or buckets would change.

    Raises:
        InputError: the rows cannot be split over mesh and micro-batches.
    """
    batch = replace(
        experiment.batch, process_index=jax.process_index(), process_count=jax.process_count()
    )
    sharing = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    parts = sharing * experiment.train.accumulation
    if batch.batch_size * batch.process_count % parts:
        raise InputError(
            f"batch.batch_size is {batch.batch_size} on each of {batch.process_count} processes; "
            f"together they must be a multiple of train.accumulation "
            f"({experiment.train.accumulation}) x mesh axes replica x fsdp ({sharing})"
        )
    if batch.packing != "buckets":
        # Nothing depends on it, and the data position must be good for any mesh.
        return batch
    return replace(batch, row_multiple=math.lcm(batch.row_multiple, parts))


def experiment_mesh(experiment: MazeExperiment) -> Mesh | None:
    """The mesh over all devices; None on a single one."""
    shape = experiment.mesh.shape(jax.device_count())
    return None if math.prod(shape) == 1 else make_mesh(experiment.mesh)


def validation_loss(experiment: MazeExperiment, mesh: Mesh | None) -> Any:
    """`(params, step) -> numbers`: loss and accuracy on held-out problems of the same kind.

    The examples are those of the validation split, which shares no problem with training.
    """
    e = experiment
    data = replace(e.data, split="validation", count=e.validation_examples)
    # Every process makes all rows and keeps its own, as many as in training.
    rows = e.batch.batch_size * jax.process_count()
    config = replace(e.batch, batch_size=rows, packing="packed", buckets=None, epochs=1)
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    objective = next_token(e.transformer(), e.loss_chunk or None)

    @jax.jit
    def measure(params: Params, batch: Any) -> Any:
        return objective(params, batch, jax.random.key(0))[1]

    batches: list[Any] = []

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        if not batches:
            stream = training_batches(maze_source(data), pad_id=e.vocabulary().pad, **fields)
            first = e.batch.batch_size * jax.process_index()
            batch: Any
            for batch in stream:
                mine = {n: x[first : first + e.batch.batch_size] for n, x in batch.items()}
                batches.append(place_batch(mine, mesh))
        totals: dict[str, np.ndarray] = {}
        for batch in batches:
            for name, pair in jax.device_get(measure(params, batch)).items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair)
        return {
            f"validation_{name}": float(total / max(count, 1.0))
            for name, (total, count) in totals.items()
        }

    return evaluate


def load_experiment(path: str | Path) -> MazeExperiment:
    """The `experiment` defined in a Python file, which is executed.

    Raises:
        InputError: no such file, it fails, or it defines no `experiment`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"experiment file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"jaxreason_experiment_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"experiment file {path} is not a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses defined in the file look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"experiment file {path} fails: {error!r}") from error
    experiment = getattr(module, "experiment", None)
    if not isinstance(experiment, MazeExperiment):
        raise InputError(
            f"experiment file {path} must define `experiment`, a MazeExperiment; "
            f"found {type(experiment).__name__}"
        )
    return experiment


def load_run(run_directory: str | Path, step: int | None = None) -> Run:
    """The model of a run directory, on one device.

    Args:
        run_directory: where `run_experiment` trained.
        step: which checkpoint; the newest by default.

    Raises:
        FailureError: no run there, a config.json that is not an experiment's, a damaged checkpoint.
    """
    experiment = read_experiment(run_directory)
    model = experiment.transformer()
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(model.init, jax.random.key(0)),
    )
    params, step = load_params(run_directory, abstract, step)
    return Run(experiment, model, params, step)


def read_experiment(run_directory: str | Path) -> MazeExperiment:
    """The experiment a run directory was trained as.

    Raises:
        FailureError: there is no config.json, or it is not an experiment's.
    """
    path = Path(run_directory) / "config.json"
    if not path.is_file():
        raise FailureError(f"{run_directory} is not a run directory: it has no config.json")
    try:
        return _from_json(MazeExperiment, json.loads(path.read_text()), "")
    except (ValueError, TypeError) as error:
        raise FailureError(f"{path} does not describe an experiment: {error}") from error


def _from_json(kind: Any, value: Any, name: str) -> Any:
    """Rebuild a (nested) dataclass from what JSON made of it."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, Mapping):
            raise InputError(f"field {name or 'config'} is {value!r}; expected an object")
        unknown = sorted(set(value) - set(hints))
        if unknown:
            raise InputError(f"field {name + '.' if name else ''}{unknown[0]} is unknown")
        fields = {key: _from_json(hints[key], item, key) for key, item in value.items()}
        return typing.cast(Any, kind)(**fields)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _from_json(next(a for a in arguments if a is not type(None)), value, name)
    return tuple(value) if typing.get_origin(kind) is tuple else value

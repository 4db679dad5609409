"""An experiment as one value: what to train on, which model, how, and how to judge it.

Experiments are Python files that define `experiment`; every field can be changed from the command
line. The run directory keeps the experiment in config.json, so a run is understood by its path.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data import BatchConfig, MazeData, maze_source, training_batches
from jaxreason.data.shares import check_streams
from jaxreason.errors import InputError
from jaxreason.mazes import Problem
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import next_token
from jaxreason.paths import as_path
from jaxreason.rewards import Reward, maze_reward
from jaxreason.sharding.mesh import BATCH_AXES, MeshConfig, make_mesh
from jaxreason.sharding.placement import agree, data_share, place_everywhere, to_host
from jaxreason.tokens import MazeVocabulary
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.judging import ambient
from jaxreason.training.loop import TrainConfig, TrainResult, train
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.parts import TrainingParts, next_token_shapes
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import read_config
from jaxreason.types import Completions, Params


@dataclass(frozen=True)
class NextTokenExperiment:
    """Next-token training of one model on one data set; subclasses say what `data` is.

    Attributes:
        data: the training problems.
        batch: how examples become rows.
        model: shape and numerics; vocabulary_size 0 stands for the size of the data's vocabulary.
        optimizer: AdamW and its schedule.
        train: lengths and intervals.
        mesh: how devices are arranged.
        validation_examples: held-out examples whose loss is taken at every evaluation.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
    """

    data: Any = None
    batch: BatchConfig = field(default_factory=lambda: BatchConfig(batch_size=8, length=8192))
    model: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(0, 4, 128, 4, 4, 32, 384)
    )
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    validation_examples: int = 256
    loss_chunk: int = 0

    def __post_init__(self) -> None:
        for name, least in (("validation_examples", 2), ("loss_chunk", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def vocabulary(self) -> Any:
        """The words of the data: `size`, `pad`, `eos`, `encode_prompt`, `decode_words`."""
        return self.source().vocabulary

    def source(self, **changes: Any) -> Any:
        """The examples, or those of the data with some fields changed.

        It has a length, `[i]` (tokens and prompt_length), `problem(i)` and `vocabulary`.
        """
        raise TypeError(f"{type(self).__name__} has no data")

    def reward(self, problems: Sequence[Any], completions: Completions) -> Reward:
        """What the verifier gives for completions of problems, problem i that of completion i."""
        raise TypeError(f"{type(self).__name__} has no verifier")

    def transformer(self) -> Transformer:
        """The model, its vocabulary settled.

        Raises:
            InputError: `model.vocabulary_size` is neither 0 nor that of the data.
        """
        size = self.vocabulary().size
        if self.model.vocabulary_size not in (0, size):
            raise InputError(
                f"model.vocabulary_size is {self.model.vocabulary_size}, but {self.words()} have "
                f"{size} words; use {size} or 0"
            )
        return Transformer(replace(self.model, vocabulary_size=size))

    def words(self) -> str:
        """What the vocabulary is of, for messages."""
        return "the data"

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run on this mesh compiles; needs no data.

        Raises:
            InputError: fields that do not fit each other or the mesh.
        """
        model = self.transformer()
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        return TrainingParts(
            objective=next_token(model, self.loss_chunk or None),
            model_init=model.init,
            optimizer=make_optimizer(self.optimizer),
            batch_shapes=[next_token_shapes(*shape) for shape in run_batch(self, mesh).shapes],
            flops_per_token=training_flops_per_token(
                shapes, self.batch.length, windows=self.model.windows
            ),
        )

    def as_json(self) -> dict[str, Any]:
        """What config.json holds; `training.runs` reads it back."""
        return dataclasses.asdict(self)

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there; see `run_experiment`."""
        return run_experiment(self, run_directory, progress)


@dataclass(frozen=True)
class MazeExperiment(NextTokenExperiment):
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
    prepared: str | None = None

    def vocabulary(self) -> MazeVocabulary:
        """The words of the grid."""
        return MazeVocabulary(self.data.width, self.data.height)

    def source(self, **changes: Any) -> Any:
        """The examples; with fields changed they are generated on the fly."""
        if not changes:
            return maze_source(self.data, self.prepared)
        return maze_source(replace(self.data, **changes))

    def reward(self, problems: Sequence[Problem], completions: Completions) -> Reward:
        """Plan validity; see `rewards.maze_reward`."""
        return maze_reward(problems, completions, self.vocabulary())

    def words(self) -> str:
        """Names the grid."""
        return f"mazes of {self.data.width}x{self.data.height}"


def run_experiment(
    experiment: NextTokenExperiment, run_directory: str | Path, progress: bool = True
) -> TrainResult:
    """Train an experiment in a run directory, or go on with what is there.

    Raises:
        InputError: fields that do not fit each other, or a directory of another experiment.
        FailureError: see `training.loop.train`.
    """
    check_run_directory(run_directory, experiment.train.tensorboard)
    mesh = experiment_mesh(experiment)
    share = data_share(mesh)
    e = with_streams(experiment, run_directory, share.count)
    check_streams(e.batch.streams, share.count)
    parts = e.parts(mesh)
    batch = run_batch(e, mesh)
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    batches = training_batches(
        e.source(),
        pad_id=e.vocabulary().pad,
        share_index=share.index,
        share_count=share.count,
        **fields,
    )
    return train(
        run_directory,
        objective=parts.objective,
        model_init=parts.model_init,
        optimizer=parts.optimizer,
        optimizer_config=e.optimizer,
        train_config=e.train,
        batches=batches,
        mesh=mesh,
        evaluate_fn=validation_loss(e, mesh) if e.train.evaluate_every else None,
        config_json=e.as_json(),
        flops_per_token=parts.flops_per_token,
        progress=progress,
    )


def with_streams(experiment: Any, run_directory: str | Path, shares: int) -> Any:
    """The experiment with `batch.streams` settled: a run keeps those it has begun with.

    Process 0 decides, as others may see an older state of a shared file system.

    Args:
        experiment: what to train, with `batch`.
        run_directory: of the run, begun or not.
        shares: how many parts a batch has now.
    """
    run = as_path(run_directory)
    streams = experiment.batch.streams or shares
    if jax.process_index() == 0 and not experiment.batch.streams:
        begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
        if begun and (run / "config.json").exists():
            # Runs of before there were streams had one.
            streams = read_config(run).get("batch", {}).get("streams", 1)
    streams = agree(streams)[0]
    return replace(experiment, batch=replace(experiment.batch, streams=streams))


def run_batch(experiment: Any, mesh: Mesh | None) -> BatchConfig:
    """The batches of a run, of all processes together.

    The rows of every bucket are made to fit mesh and micro-batches; a run that is to change its
    mesh sets `batch.row_multiple` to a common multiple from the start, or buckets would change.

    Raises:
        InputError: the rows cannot be split over mesh and micro-batches.
    """
    batch = experiment.batch
    sharing = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    parts = sharing * experiment.train.accumulation
    if batch.batch_size % parts:
        raise InputError(
            f"batch.batch_size is {batch.batch_size}; it must be a multiple of train.accumulation "
            f"({experiment.train.accumulation}) x mesh axes replica x fsdp ({sharing})"
        )
    if batch.packing != "buckets":
        # Nothing depends on it, and the data position must be good for any mesh.
        return batch
    return replace(batch, row_multiple=math.lcm(batch.row_multiple, parts))


def experiment_mesh(experiment: NextTokenExperiment) -> Mesh | None:
    """The mesh over all devices; None on a single one."""
    shape = experiment.mesh.shape(jax.device_count())
    return None if math.prod(shape) == 1 else make_mesh(experiment.mesh)


def validation_loss(experiment: NextTokenExperiment, mesh: Mesh | None) -> Any:
    """`(params, step) -> numbers`: loss and accuracy on held-out problems of the same kind.

    The examples are those of the validation split, which shares no problem with training.
    """
    e = experiment
    # Every process makes all rows, so the numbers do not depend on how many there are.
    config = replace(e.batch, packing="packed", buckets=None, epochs=1, streams=1)
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    objective = next_token(e.transformer(), e.loss_chunk or None)

    @jax.jit
    def measure(params: Params, batch: Any) -> Any:
        return objective(params, batch, jax.random.key(0))[1]

    batches: list[Any] = []

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        if not batches:
            held_out = e.source(split="validation", count=e.validation_examples)
            stream = training_batches(held_out, pad_id=e.vocabulary().pad, **fields)
            batches.extend(place_everywhere(batch, mesh) for batch in stream)
        totals: dict[str, np.ndarray] = {}
        for batch in batches:
            with ambient(mesh):
                measured = to_host(measure(params, batch))
            for name, pair in measured.items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair)
        return {
            f"validation_{name}": float(total / max(count, 1.0))
            for name, (total, count) in totals.items()
        }

    return evaluate

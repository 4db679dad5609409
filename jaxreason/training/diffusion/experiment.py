"""Masked diffusion over text and pictures as one value: the supervised stages of MMaDA.

Stage 1 trains from scratch; a later stage names the run before it as its `base` and goes on with
its parameters (Yang et al. 2025, arXiv:2505.15809, section 2).
"""

import dataclasses
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
from jax.sharding import Mesh

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, TASKS_OF_WORLD, MazeWorld
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.tokens.image_codec import ImageCodec, PaletteCodec
from jaxreason.tokens.maze_world_vocabulary import MazeWorldVocabulary
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.checks import (
    check_guidance,
    check_rows,
    check_same_codec,
    check_shape,
)
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.supervised import diffusion_parts, task_batches
from jaxreason.training.loop import TrainConfig, TrainResult, train
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.parts import TrainingParts
from jaxreason.training.run_directory import check_run_directory
from jaxreason.types import Objective, Params

DEFAULT_ROWS = {"draw_maze": 4, "draw_solution": 4, "read_plan": 4, "read_maze": 2, "plan": 2}


@dataclass(frozen=True)
class MaskedDiffusionExperiment:
    """Masked-diffusion training of one model on the tasks of a maze world.

    Attributes:
        world: the mazes, how they are described, and whether answers carry a trace.
        tokenizer: run directory of a trained image tokenizer; "" takes one token per cell.
        model: shape and numerics; vocabulary_size 0 stands for the size of the world's vocabulary.
        objective: weights of the tasks, noise and normalisation.
        blocks: block diffusion, for tasks whose answers are words; of `objective` only `mask_mode`
            is then used, and the rest stays as it is by default.
        rows: rows of each task in a batch, of all processes together; a task left out is not
            trained.
        text_dropout: share of the text-to-picture rows whose text is left out, which is what
            guidance without classifier needs; no text is left out of rows with reasoning.
        decoding: how answers are decoded when the model is judged.
        optimizer: AdamW or Muon and its schedule.
        train: lengths and intervals.
        mesh: how devices are arranged.
        held_out: mazes of the validation split on which every trained task is judged at an
            evaluation; 0 takes the loss on them alone.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        base: run directory to take the parameters from; "" starts from fresh ones.
        base_step: which of its checkpoints; the newest by default.
    """

    world: MazeWorld = field(default_factory=MazeWorld)
    tokenizer: str = ""
    model: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(
            0, 4, 128, 4, 4, 32, 384, attention="bidirectional"
        )
    )
    objective: MaskedDiffusionConfig = field(default_factory=MaskedDiffusionConfig)
    blocks: BlockTraining = field(default_factory=BlockTraining)
    rows: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_ROWS))
    text_dropout: float = 0.1
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    held_out: int = 64
    loss_chunk: int = 0
    base: str = ""
    base_step: int | None = None

    kind: ClassVar[str] = "masked_diffusion"

    def __post_init__(self) -> None:
        for name in ("held_out", "loss_chunk"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for task, rows in self.rows.items():
            if task not in TASKS_OF_WORLD:
                raise InputError(
                    f"rows has task {task!r}; expected some of {', '.join(TASKS_OF_WORLD)}"
                )
            if rows < 0:
                raise InputError(f"rows of {task} is {rows}; it must be at least 0")
        if not self.tasks():
            raise InputError("rows has no task with at least one row")
        pictures = [task for task in self.tasks() if task in PICTURE_TASKS]
        self.blocks.check(self.model, self.objective, pictures, self.decoding)
        if pictures:
            check_guidance(self.decoding.guidance, self.text_dropout, self.world.reasons)

    def tasks(self) -> tuple[str, ...]:
        """The tasks that are trained, in the world's order."""
        return tuple(task for task in TASKS_OF_WORLD if self.rows.get(task, 0))

    def batch_rows(self) -> int:
        """Rows of a batch, all tasks together."""
        return sum(self.rows.values())

    def codec(self) -> ImageCodec:
        """From pictures to tokens and back; read once.

        Raises:
            FailureError: the tokenizer's run directory holds none.
        """
        return self._codec

    @cached_property
    def _codec(self) -> ImageCodec:
        if not self.tokenizer:
            return PaletteCodec(self.world.width, self.world.height)
        from jaxreason.training.diffusion.image_codec import load_image_codec

        return load_image_codec(self.tokenizer)

    def vocabulary(self) -> MazeWorldVocabulary:
        """Words of the world, then the ids of its pictures."""
        return MazeWorldVocabulary(self.world.width, self.world.height, self.codec().codes)

    def source(self, **changes: Any) -> MazeWorldSource:
        """The examples, or those of the world with some fields changed.

        `[i, task]` is a row to train on, `.prompt(i, task)` what a sampler gets, `.problem(i)` the
        maze, `.judge(task, problems, answers)` the verdict.
        """
        world, block = replace(self.world, **changes), max(self.blocks.length, 1)
        return MazeWorldSource(world, self.codec(), block=block)

    def transformer(self) -> Transformer:
        """The model, its vocabulary settled.

        Raises:
            InputError: `model.vocabulary_size` is neither 0 nor that of the world.
        """
        size = self.vocabulary().size
        if self.model.vocabulary_size not in (0, size):
            raise InputError(
                f"model.vocabulary_size is {self.model.vocabulary_size}, but mazes of "
                f"{self.world.width}x{self.world.height} with their pictures have {size} tokens; "
                f"use {size} or 0"
            )
        return Transformer(replace(self.model, vocabulary_size=size))

    def words(self) -> str:
        """What the vocabulary is of, for messages."""
        return f"text and pictures of mazes of {self.world.width}x{self.world.height}"

    def make_objective(self, model: Transformer) -> Objective:
        """The loss on a diffusion batch."""
        mask, chunk = self.vocabulary().ids.mask, self.loss_chunk or None
        return self.blocks.objective(model, mask, self.objective, chunk)

    def parts(self, mesh: Mesh | None, source: MazeWorldSource | None = None) -> TrainingParts:
        """What a run on this mesh compiles; needs no base, and `source` only if it is there.

        Raises:
            InputError: fields that do not fit each other or the mesh.
        """
        length = (source or self.source()).layout.length
        return diffusion_parts(self, self.batch_rows(), length, mesh)

    def device_mesh(self) -> Mesh | None:
        """The mesh over all devices; None on a single one."""
        shape = self.mesh.shape(jax.device_count())
        return None if math.prod(shape) == 1 else make_mesh(self.mesh)

    def as_json(self) -> dict[str, Any]:
        """What config.json holds, blocks only where there are any; `training.runs` reads it."""
        document = {"kind": self.kind, **dataclasses.asdict(self)}
        if self.blocks == BlockTraining():
            del document["blocks"]
        return document

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other or the base, or a directory of another
                experiment or of another state of its tokenizer.
            FailureError: see `training.loop.train`; no base or tokenizer run.
        """
        from jaxreason.training.diffusion.held_out import held_out_numbers
        from jaxreason.training.diffusion.kept_codec import keep_codec

        check_run_directory(run_directory, self.train.tensorboard)
        mesh = self.device_mesh()
        check_rows(self.batch_rows(), self.train.accumulation, mesh)
        model, initial = self.transformer(), self.initial_params()
        source = self.source()
        parts = self.parts(mesh, source)
        if self.tokenizer:
            keep_codec(run_directory, self.codec())
        return train(
            run_directory,
            objective=parts.objective,
            model_init=parts.model_init if initial is None else None,
            initial_params=initial,
            optimizer=parts.optimizer,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=task_batches(self, source, mesh),
            mesh=mesh,
            evaluate_fn=held_out_numbers(self, model, mesh) if self.train.evaluate_every else None,
            config_json=self.as_json(),
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    def initial_params(self) -> Params | None:
        """The base's parameters; None without a base.

        Raises:
            InputError: the base has other tokens or another shape.
            FailureError: it is not a run directory, or has no such checkpoint.
        """
        if not self.base:
            return None
        from jaxreason.training.runs import load_run

        base = load_run(self.base, self.base_step, mesh=self.device_mesh())
        if not hasattr(base.experiment, "world"):
            raise InputError(
                f"base {self.base} was trained on {base.experiment.words()}; expected a run of "
                "masked diffusion on a maze world"
            )
        known, wanted = base.experiment.vocabulary(), self.vocabulary()
        if (known.words, known.ids) != (wanted.words, wanted.ids):
            raise InputError(
                f"base {self.base} was trained on {known.size} tokens ({known.name}), other than "
                f"the {wanted.size} of this experiment ({wanted.name}): keep world.width, "
                "world.height and tokenizer as in the base"
            )
        check_same_codec(f"base {self.base}", base.experiment.codec(), self.codec())
        check_shape(self.base, base.model.config, self.transformer().config)
        return base.params

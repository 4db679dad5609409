"""Training an image tokenizer: pictures, MAGVIT-v2, reconstruction and quantiser losses.

No adversarial and no perceptual loss (see `objectives.image_tokenizer`): enough for mazes, digits
and other plain pictures.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.data.multimodal.pictures import (
    PictureBatches,
    PictureData,
    PictureSource,
    picture_source,
)
from jaxreason.errors import InputError
from jaxreason.models.magvit import Magvit, MagvitConfig
from jaxreason.objectives.image_tokenizer import TokenizerLossConfig, image_tokenizer
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import BATCH_AXES, MeshConfig, make_mesh
from jaxreason.sharding.placement import data_share
from jaxreason.sharding.rules import CONVOLUTION_RULES
from jaxreason.training.diffusion.image_codec import MagvitCodec
from jaxreason.training.diffusion.image_tokenizer_measures import measure_tokenizer
from jaxreason.training.diffusion.image_tokenizer_report import write_tokenizer_report
from jaxreason.training.loop import TrainConfig, TrainResult, train
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.parts import TrainingParts
from jaxreason.training.run_directory import check_run_directory
from jaxreason.types import Params


@dataclass(frozen=True)
class ImageTokenizerExperiment:
    """Training of one image tokenizer on one set of pictures.

    Attributes:
        data: the pictures.
        model: shape of the tokenizer.
        loss: parts of the loss.
        optimizer: AdamW and its schedule.
        train: lengths and intervals.
        mesh: how devices are arranged.
        batch_size: pictures per step, of all processes together.
        validation_pictures: held-out pictures that every evaluation and the report look at.

    Raises:
        InputError: pictures whose sides the tokenizer's downsampling does not divide, or another
            field outside its range.
    """

    data: PictureData = field(default_factory=PictureData)
    model: MagvitConfig = field(
        default_factory=lambda: MagvitConfig(8, (1, 2, 4), (1, 1, 1), (1, 2, 4), (1, 1, 1), 6, 4)
    )
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    batch_size: int = 16
    validation_pictures: int = 256

    def __post_init__(self) -> None:
        for name in ("batch_size", "validation_pictures"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.loss.entropy_of == "codes" and self.model.code_bits > 12:
            raise InputError(
                f"loss.entropy_of is 'codes' with model.code_bits {self.model.code_bits}: each "
                "code of a batch would need 2^bits numbers; above 12 bits use 'bits'"
            )
        self.model.grid(*self.data.picture)

    def as_json(self) -> dict[str, Any]:
        """What config.json holds; `training.runs` reads it back."""
        return {"kind": "image_tokenizer", **asdict(self)}

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there; then write its report.

        Raises:
            InputError: fields that do not fit each other, or a directory of another experiment.
            FailureError: see `training.loop.train`.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        shape = self.mesh.shape(jax.device_count())
        mesh = None if math.prod(shape) == 1 else make_mesh(self.mesh)
        parts = self.parts(mesh)
        held_out = picture_source(replace(self.data, split="validation"))
        source = picture_source(self.data)
        share = data_share(mesh)
        result = train(
            run_directory,
            objective=parts.objective,
            model_init=parts.model_init,
            optimizer=parts.optimizer,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=PictureBatches(source, self.batch_size, share.index, share.count),
            mesh=mesh,
            rules=parts.rules,
            evaluate_fn=self._evaluate(held_out) if self.train.evaluate_every else None,
            config_json=self.as_json(),
            progress=progress,
        )
        if jax.process_index() == 0:
            params = jax.device_get(result.state.params)
            codec = MagvitCodec(self.model, params, self.data.picture)
            measures = measure_tokenizer(codec, held_out, self.validation_pictures)
            write_tokenizer_report(as_path(run_directory), measures, int(result.state.step))
        return result

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run on this mesh compiles; needs no pictures.

        Raises:
            InputError: a batch that mesh and micro-batches cannot split.
        """
        self._check_rows(mesh)
        model = Magvit(self.model)
        images = jax.ShapeDtypeStruct((self.batch_size, *self.data.picture, 3), jnp.uint8)
        return TrainingParts(
            objective=image_tokenizer(model, self.loss),
            model_init=model.init,
            optimizer=make_optimizer(self.optimizer),
            batch_shapes=[{"images": images}],
            flops_per_token=None,
            rules=CONVOLUTION_RULES,
        )

    def _check_rows(self, mesh: Mesh | None) -> None:
        sharing = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        parts = sharing * self.train.accumulation
        if self.batch_size % parts:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of train.accumulation "
                f"({self.train.accumulation}) x mesh axes replica x fsdp ({sharing})"
            )

    def _evaluate(self, held_out: PictureSource) -> Callable[[Params, int], Mapping[str, float]]:
        def evaluate(params: Params, step: int) -> Mapping[str, float]:
            del step
            # Every device holds them whole; see CONVOLUTION_RULES.
            codec = MagvitCodec(self.model, jax.device_get(params), self.data.picture)
            numbers = measure_tokenizer(codec, held_out, self.validation_pictures).numbers
            return {f"validation_{name}": value for name, value in numbers.items()}

        return evaluate

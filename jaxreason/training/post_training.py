"""What all post-training of a trained model shares: its base, its precision, its update mask."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jaxreason import masks
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.lora import LoraConfig, add_lora, lora_mask
from jaxreason.models.presets import PRESETS, preset
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.precision import in_dtypes_of, in_float32
from jaxreason.training.pretrained import PretrainedModel
from jaxreason.training.runs import Run, load_experiment, load_run, read_config, read_experiment
from jaxreason.training.state import place_params
from jaxreason.training.typed_fields import typed_fields
from jaxreason.types import Params

ParamsDtype = Literal["float32", "bfloat16"]
DIFFUSION_PRESETS = ("llada_8b", "mmada_8b")


@dataclass(frozen=True)
class PostTraining:
    """Training that starts from a run directory; subclasses add the method.

    Attributes:
        base: run directory of the model to start from.
        base_step: which of its checkpoints; the newest by default.
        optimizer: of the model.
        params_dtype: "bfloat16" stores the parameters in bfloat16 (moments: see `optimizer`).
        mask: file of a saved update mask; only the weights in it are trained.
        mask_placement: "update" freezes the others for good; "gradient" masks gradients just
            before the optimizer, as Mukherjee et al. 2025 do.
        train: lengths and intervals.
        mesh: how devices are arranged.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        lora: train low-rank updates (in float32) and nothing else; optimizer state is kept for
            them alone. What the run's checkpoints hold is merged where it is read.
    """

    base: str = ""
    base_step: int | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    params_dtype: ParamsDtype = "float32"
    mask: str | None = None
    mask_placement: Literal["update", "gradient"] = "update"
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    loss_chunk: int = 0
    lora: LoraConfig | None = None

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.params_dtype not in ("float32", "bfloat16"):
            raise InputError(
                f"params_dtype is {self.params_dtype!r}; expected 'float32' or 'bfloat16'"
            )
        if self.mask_placement not in ("update", "gradient"):
            raise InputError(
                f"mask_placement is {self.mask_placement!r}; expected 'update' or 'gradient'"
            )
        if self.loss_chunk < 0:
            raise InputError(f"loss_chunk is {self.loss_chunk}; it must be at least 0")
        if self.lora is not None and self.mask is not None:
            raise InputError("mask and lora are set: a mask names entries of the base's weights")
        if self.lora is not None and self.optimizer.method != "adamw":
            raise InputError(
                f"optimizer.method is {self.optimizer.method!r}; with lora expected 'adamw'"
            )

    def as_json(self) -> dict[str, Any]:
        """What config.json holds besides the config of the base."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def load_base(self) -> Run:
        """The model to start from, its parameters where `device_mesh` wants them.

        With `lora` it has fresh low-rank matrices, which change nothing yet.

        Raises:
            InputError: `base` is not set, or it cannot be split over the mesh.
            FailureError: it is not a run directory, or has no such checkpoint.
        """
        if not self.base:
            raise InputError("base is not set; give the run directory to start from: --base RUN")
        mesh = self.device_mesh()
        run = load_run(self.base, self.base_step, mesh=mesh)
        if self.lora is None:
            return run
        params = add_lora(run.params, self.lora, jax.random.key(self.train.seed))
        return run._replace(model=adapted(run.model, self.lora), params=place_params(params, mesh))

    def base_shapes(self) -> Run:
        """The model to start from with shapes for parameters: of a run directory or a published
        folder (its config.json is enough), of a Python file of an experiment that has not been
        trained yet, or of a name in `models.presets` for published weights that are not here.

        Raises:
            InputError: `base` is not set, or names nothing of these.
            FailureError: the run's config.json is damaged.
        """
        if not self.base:
            raise InputError(
                "base is not set; give the run directory to start from, or the experiment file it "
                "will be trained from: --base RUN or --base FILE.py"
            )
        experiment = described_base(self.base)
        model = experiment.transformer()
        if self.lora is not None:
            model = adapted(model, self.lora)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        if getattr(experiment, "kind", "") in ("pretrained", "imported"):
            # Published weights are read in the dtype that they are stored in.
            shapes = _in_dtype(shapes, experiment.params_dtype)
        return Run(experiment, model, shapes, 0)

    def described(self) -> Run:
        """As `base_shapes`, of a base that can be loaded: for what is checked before it is.

        Raises:
            InputError: as `base_shapes`.
            FailureError: it is no run directory and no published folder.
        """
        if self.base:
            read_config(self.base)
        return self.base_shapes()

    def device_mesh(self) -> Mesh | None:
        """The mesh over all devices; None on a single one."""
        shape = self.mesh.shape(jax.device_count())
        return None if math.prod(shape) == 1 else make_mesh(self.mesh)

    def initial_params(self, base: Run) -> Params:
        """The base's parameters, in the dtype they are to be stored in."""
        return in_dtypes_of(base.params, self.stored(base.params))

    def stored(self, params: Params) -> Params:
        """Shapes of the parameters in the dtype they are stored in; LoRA's stay in float32."""
        return _in_dtype(params, self.params_dtype)

    def optimizer_for(self, params: Params) -> optax.GradientTransformation:
        """The optimizer with the mask and the precision that were asked for.

        Raises:
            InputError: the mask is not one of these parameters.
        """
        optimizer = make_optimizer(self.optimizer)
        if self.lora is not None:
            optimizer = lora_optimizer(self.optimizer, params)
        if self.mask is not None:
            mask = masks.load_mask(self.mask)
            if self.mask_placement == "update":
                optimizer = masks.freeze_outside(optimizer, mask)
            else:
                optimizer = masked_before_the_optimizer(self.optimizer, mask)
            jax.eval_shape(optimizer.init, params)  # refuses a mask of another model at once
        return in_float32(optimizer) if self.params_dtype == "bfloat16" else optimizer


def described_base(base: str) -> Any:
    """What a base is or will be: an experiment with a `transformer`; see `base_shapes`.

    Raises:
        InputError: nothing of the kind.
    """
    if base in DIFFUSION_PRESETS and not as_path(base).exists():
        from jaxreason.training.diffusion.imported import published_shape

        return published_shape(base)
    if base in PRESETS and not as_path(base).exists():
        return PretrainedModel(preset(base), base.split("_")[0], source=base)
    if not base.endswith(".py") and not (as_path(base) / "config.json").exists():
        raise InputError(
            f"base {base} is no run directory and no published folder; to compile ahead, --base "
            f"may also name the experiment file that it will be trained from, or one of "
            f"{', '.join(PRESETS)}"
        )
    experiment = load_experiment(base) if base.endswith(".py") else read_experiment(base)
    if not hasattr(experiment, "transformer"):
        raise InputError(f"base {base} describes no language model")
    return experiment


def _in_dtype(params: Params, dtype: str) -> Params:
    """Shapes of the parameters in a dtype; LoRA's stay in float32."""
    return jax.tree.map(
        lambda leaf, low_rank: jax.ShapeDtypeStruct(
            leaf.shape, jnp.float32 if low_rank else jnp.dtype(dtype)
        ),
        params,
        lora_mask(params),
    )


def masked_before_the_optimizer(config: OptimizerConfig, mask: Any) -> optax.GradientTransformation:
    """Clip by the norm of all gradients, mask them, then the optimizer (Mukherjee et al. 2025).

    The clip comes first, as the paper replaces the gradient just before the optimizer's update.
    """
    clip, bare = _clip_apart(config)
    return optax.chain(clip, masks.mask_gradients(mask), bare)


def lora_optimizer(
    config: OptimizerConfig, params: Params, besides: str = ""
) -> optax.GradientTransformation:
    """The optimizer for LoRA's matrices alone: nothing else has moments, or is ever changed.

    Args:
        config: AdamW.
        params: with A and B among them, as arrays or shapes.
        besides: name of one more leaf to train, of the tree's root.
    """
    clip, bare = _clip_apart(config)
    mask = lora_mask(params)
    return optax.chain(clip, masks.compact(bare, {**mask, besides: True} if besides else mask))


def _clip_apart(config: OptimizerConfig) -> tuple[Any, Any]:
    """The clip by the norm of all gradients, and the optimizer without it."""
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return clip, make_optimizer(dataclasses.replace(config, clip_norm=0.0))


def adapted(model: Transformer, lora: LoraConfig) -> Transformer:
    """The model with low-rank updates beside its kernels."""
    return Transformer(dataclasses.replace(model.config, lora=lora))


def problem_source(base: Run, count: int, changes: Mapping[str, str]) -> Any:
    """The training problems of a base, with fields of its data changed.

    Args:
        base: the model, and the data it was trained on.
        count: number of problems.
        changes: field of the data to its value as text.

    Raises:
        InputError: an unknown field or value, one that is set elsewhere, problems whose words
            are not those of the model, or a base that is no next-token model.
    """
    experiment: Any = base.experiment
    if not hasattr(experiment, "data"):
        raise InputError(
            f"base was trained on {experiment.words()} by masked diffusion; expected a next-token "
            "model, or use a method for diffusion models"
        )
    fixed = sorted({"split", "count"} & changes.keys())
    if fixed:
        raise InputError(
            f"problem_changes has {fixed[0]!r}, which is not to be changed: training takes as many "
            "problems as it is told to, of the split train"
        )
    changed = typed_fields(type(experiment.data), changes, "problem_changes")
    source = experiment.source(split="train", count=count, **changed)
    known, wanted = experiment.vocabulary(), source.vocabulary
    # Other ids would stand for other words, and nothing but the rewards would tell.
    if known.words != wanted.words:
        raise InputError(
            f"problem_changes {dict(changes)} gives problems with a vocabulary of {wanted.size} "
            f"words, other than the {known.size} words the base was trained on; keep the fields "
            "that decide which words there are"
        )
    return source


def origin_json(base: str | Path) -> dict[str, Any]:
    """The config of the run that post-training starts from."""
    config = read_config(base)
    return json.loads(json.dumps(config))

"""Experiments as files and runs as directories: how a trained model is found by its path."""

import dataclasses
import importlib
import importlib.util
import json
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer
from jaxreason.models.lora import LoraConfig, lora_mask, merge_lora
from jaxreason.paths import as_path, local_path
from jaxreason.sharding.placement import agree
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training.checkpoint import checkpoint_steps, load_params
from jaxreason.training.json_fields import from_json
from jaxreason.training.precision import in_dtypes_of
from jaxreason.types import Params
from jaxreason.weights.json_text import cut, read_json, shown

KINDS = {
    "maze": ("jaxreason.training.experiment", "MazeExperiment"),
    "countdown": ("jaxreason.training.countdown_experiment", "CountdownExperiment"),
    "reinforcement": ("jaxreason.training.reinforcement_experiment", "ReinforcementExperiment"),
    "preference": ("jaxreason.training.preference_experiment", "PreferenceExperiment"),
    "image_tokenizer": (
        "jaxreason.training.diffusion.image_tokenizer_experiment",
        "ImageTokenizerExperiment",
    ),
    "imported": ("jaxreason.training.diffusion.imported", "ImportedModel"),
    "pretrained": ("jaxreason.training.pretrained", "PretrainedModel"),
    "masked_diffusion": ("jaxreason.training.diffusion.experiment", "MaskedDiffusionExperiment"),
    "diffusion_records": (
        "jaxreason.training.diffusion.records_experiment",
        "RecordsExperiment",
    ),
    "diffusion_language_reinforcement": (
        "jaxreason.training.diffusion.language_experiment",
        "DiffusionLanguageReinforcement",
    ),
    "diffusion_language_supervised": (
        "jaxreason.training.diffusion.language_supervised",
        "DiffusionLanguageSupervised",
    ),
    "language_preference": ("jaxreason.training.language.preference", "LanguagePreference"),
    "language_reinforcement": (
        "jaxreason.training.language.reinforcement",
        "LanguageReinforcement",
    ),
    "language_supervised": ("jaxreason.training.language.supervised", "LanguageSupervised"),
    "diffusion_reinforcement": (
        "jaxreason.training.diffusion.reinforcement_experiment",
        "DiffusionReinforcementExperiment",
    ),
}
"""`kind` of a config.json to the class that wrote it; without the field it is a maze's."""


BESIDES = ("kind", "origin", "algorithm")
"""What config.json holds that is no field of the experiment."""


_RETIRED = {"batch": ("process_index", "process_count")}
"""What config.json of older runs holds besides, and what says nothing about the run."""


class Run(typing.NamedTuple):
    """A trained model found by its run directory.

    Attributes:
        experiment: what it was trained as; of a post-trained model, what its base was: a
            `NextTokenExperiment` or a `MaskedDiffusionExperiment`.
        model: its model.
        params: parameters of the checkpoint.
        step: the checkpoint's step.
    """

    experiment: Any
    model: Transformer
    params: Params
    step: int


def load_module(path: str | Path) -> types.ModuleType:
    """A Python file of experiments as a module; it is executed.

    Raises:
        InputError: no such file, or it fails.
    """
    path = local_path(path, "experiment file")
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
    return module


def load_experiment(path: str | Path) -> Any:
    """The `experiment` defined in a Python file, which is executed.

    Raises:
        InputError: no such file, it fails, or it defines no `experiment`.
    """
    experiment = getattr(load_module(path), "experiment", None)
    if not dataclasses.is_dataclass(experiment) or not hasattr(experiment, "as_json"):
        raise InputError(
            f"experiment file {path} must define `experiment`, such as a MazeExperiment; "
            f"found {type(experiment).__name__}"
        )
    return experiment


def load_run(
    run_directory: str | Path,
    step: int | None = None,
    *,
    mesh: Mesh | None = None,
    merge: bool = True,
) -> Run:
    """The model of a run directory or a published folder, on one device or spread over a mesh.

    Parameters stored in bfloat16 are read as they are and widened to the model's own dtype, which
    changes no value; those of published weights, and of runs that started from them, stay as they
    are stored.

    Args:
        run_directory: where an experiment was trained, or config.json and safetensors files of a
            family in `jaxreason.weights.pretrained`, or of LLaDA or MMaDA.
        step: which checkpoint; the newest by default.
        mesh: places each parameter as in training on it, over all its processes; None takes the
            first device of this process.
        merge: of a run that trained LoRA's matrices, add them to the kernels, in the dtype that
            these are read in; False gives the model with them beside its kernels.

    Raises:
        InputError: its image tokenizer is no longer the one it was trained with; a published
            folder that our model cannot be, or a step of one.
        FailureError: no run there, a config.json that is not an experiment's, a damaged checkpoint.
    """
    experiment = read_experiment(run_directory)
    if (as_path(run_directory) / "image_codec.json").exists():
        from jaxreason.training.diffusion.kept_codec import check_codec

        check_codec(run_directory, experiment.codec())
    model = experiment.transformer()
    if (lora := lora_of(read_config(run_directory))) is not None:
        model = Transformer(dataclasses.replace(model.config, lora=lora))
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    if mesh is None:
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: one, shapes)
    else:
        shardings = match_rules(TRANSFORMER_RULES, shapes, mesh)
    if is_published(run_directory):
        if step is not None:
            raise InputError(f"{run_directory} is a published folder without steps; got {step}")
        from jaxreason.training.pretrained import load_pretrained

        return Run(experiment, model, load_pretrained(run_directory, shardings)[1], 0)
    config = read_config(run_directory)
    abstract = _stored_shapes(shapes, config.get("params_dtype"), shardings)
    if mesh is not None and step is None:
        # A base that is still trained, or a network folder, may not look the same to all.
        step = agree(max(checkpoint_steps(run_directory), default=None))[0]
    params, step = load_params(run_directory, abstract, step)
    if getattr(experiment, "kind", "") in ("imported", "pretrained") and (
        lora is None or not merge
    ):
        return Run(experiment, model, params, step)
    run = Run(experiment, model, in_dtypes_of(params, shapes), step)
    return run if lora is None or not merge else merged(run)


def _stored_shapes(shapes: Params, stored: str | None, shardings: Any) -> Params:
    """The parameters as a checkpoint has them; LoRA's matrices are in float32 always."""
    return jax.tree.map(
        lambda leaf, sharding, low_rank: jax.ShapeDtypeStruct(
            leaf.shape, (not low_rank and stored) or leaf.dtype, sharding=sharding
        ),
        shapes,
        shardings,
        lora_mask(shapes),
    )


def lora_of(config: Mapping[str, Any]) -> LoraConfig | None:
    """What a run trained of LoRA, from its config.json; None if its model has none.

    Bases are merged before they are trained on, so what an `origin` says does not count.
    """
    given = config.get("lora") or (config.get("model") or {}).get("lora")
    return None if given is None else from_json(LoraConfig, given, "lora")


def merged(run: Run) -> Run:
    """The run of a model without LoRA that computes the same; see `models.lora.merge_lora`."""
    lora = run.model.config.lora
    if lora is None:
        return run
    model = Transformer(dataclasses.replace(run.model.config, lora=None))
    return run._replace(model=model, params=merge_lora(run.params, lora))


def read_config(run_directory: str | Path) -> dict[str, Any]:
    """What config.json of a run holds; of a published folder, what that of a run of it would.

    Raises:
        InputError: a published folder that our model cannot be.
        FailureError: there is none, or it is not a JSON object.
    """
    if is_published(run_directory):
        from jaxreason.training.pretrained import pretrained_model

        return json.loads(json.dumps(pretrained_model(run_directory).as_json()))
    return _stored_config(run_directory)


def is_published(folder: str | Path) -> bool:
    """Whether it is a folder as published, by its config.json: ours have no `model_type`."""
    config = _stored_config(folder)
    return "model_type" in config and "kind" not in config


def _stored_config(run_directory: str | Path) -> dict[str, Any]:
    path = as_path(run_directory) / "config.json"
    if not path.is_file():
        raise FailureError(f"{run_directory} is not a run directory: it has no config.json")
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise FailureError(f"{path} does not describe an experiment: {error}") from error
    if not isinstance(config, dict):
        raise FailureError(f"{path} does not describe an experiment: it is not a JSON object")
    return config


def read_experiment(run_directory: str | Path) -> Any:
    """The experiment a run directory was trained as; of a post-trained model, that of its base.

    Raises:
        FailureError: there is no config.json, or it is not an experiment's.
    """
    config: Any = read_config(run_directory)
    path = as_path(run_directory) / "config.json"
    try:
        # Post-training keeps the config of the run it started from under `origin`.
        while isinstance(config, Mapping) and "origin" in config:
            config = config["origin"]
        experiment = experiment_from_json(config)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # What is checked in a class takes the kinds of its fields for granted.
        raise FailureError(f"{path} does not describe an experiment: {cut(error)}") from error
    if config.get("kind") == "image_tokenizer":
        raise FailureError(f"{path} describes an image tokenizer; expected a language model's run")
    if not hasattr(experiment, "transformer"):
        raise FailureError(f"{path} describes a post-trained model without its `origin`")
    return experiment


def experiment_from_json(config: Mapping[str, Any]) -> Any:
    """The experiment whose `as_json` gave `config`; of post-training, what config.json holds
    besides (`origin`, and the `algorithm` that its fields resolve to) is left out.

    Raises:
        InputError: unknown kind or field, or values that do not fit.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"field config is {shown(config)}; expected an object")
    kind = config.get("kind", "maze")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"kind is {shown(kind)}; expected one of {', '.join(KINDS)}")
    module, name = KINDS[kind]
    fields = {key: value for key, value in config.items() if key not in BESIDES}
    for section, names in _RETIRED.items():
        if isinstance(fields.get(section), Mapping):
            fields[section] = {k: v for k, v in fields[section].items() if k not in names}
    return from_json(getattr(importlib.import_module(module), name), fields, "")

"""What a run trained of LoRA, as an adapter in PEFT's format, and such an adapter for a run."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.lora import LoraConfig, is_lora
from jaxreason.paths import as_path
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.runs import lora_of, read_config, read_experiment
from jaxreason.training.stored_params import checked_leaves
from jaxreason.training.streamed_checkpoint import StreamedLeaf
from jaxreason.weights.peft import export_peft, import_peft


def export_adapter(
    run_directory: str | Path, folder: str | Path, step: int | None = None
) -> TransformerConfig:
    """Writes the low-rank matrices of a run for PEFT; the base's weights are not read.

    Args:
        run_directory: of a run with `lora`, from a published base.
        folder: a new one.
        step: which checkpoint; the newest by default.

    Returns:
        The model's config, `lora` set.

    Raises:
        InputError: a run without LoRA, or of a model that no published layout holds.
        FailureError: no run there, no such checkpoint, a damaged one, or a disk that refuses.
    """
    run, known = as_path(run_directory), read_experiment(run_directory)
    lora = lora_of(read_config(run))
    if lora is None:
        raise InputError(f"{run_directory} trained no LoRA: there is no adapter to write")
    kind = getattr(known, "kind", "")
    if kind not in ("pretrained", "imported") and not hasattr(known, "objective"):
        raise InputError(
            f"{run_directory} is of {known.words()}, which no published layout holds; expected a "
            "run from published weights or of masked diffusion"
        )
    steps = checkpoint_steps(run)
    if not steps or step not in (None, *steps):
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FailureError(f"{asked} in {run_directory}/checkpoints; steps there: {steps or None}")
    place = run / "checkpoints" / str(steps[-1] if step is None else step)
    layers: dict[str, np.ndarray] = {}
    for leaf in checked_leaves(place):
        if is_lora(leaf.name):
            layers[leaf.name.rsplit("/", 1)[-1]] = leaf.read()
    config = replace(known.transformer().config, lora=lora)
    family = known.family if kind == "pretrained" else "llada"
    base = getattr(known, "source", "") or None
    export_peft({"layers": layers}, config, folder, family, base=base)
    return config


def read_adapter(folder: str | Path, known: Any) -> tuple[list[StreamedLeaf], LoraConfig]:
    """The low-rank matrices of an adapter for a published model, as leaves of a checkpoint.

    Args:
        folder: adapter_config.json and adapter_model.safetensors.
        known: what `pretrained_model` gave of the base.

    Raises:
        InputError: a field asks for what is not done here, tensors do not fit the base; names it.
        FailureError: a file is missing or damaged.
    """
    family = known.family if known.kind == "pretrained" else "llada"
    config, params = import_peft(folder, {"layers": {}}, known.model, family)
    assert config.lora is not None
    leaves = [
        StreamedLeaf(
            ("layers", name), array.shape, array.dtype, (1, *array.shape[1:]), _layers(array)
        )
        for name, array in params["layers"].items()
    ]
    return leaves, config.lora


def _layers(array: np.ndarray) -> Callable[[], Iterator[tuple[tuple[int, ...], np.ndarray]]]:
    def given() -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
        for layer in range(len(array)):
            yield (layer, *[0] * (array.ndim - 1)), array[layer : layer + 1]

    return given

"""What a run trained of LoRA, as an adapter in PEFT's format."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.lora import is_lora
from jaxreason.paths import as_path
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.runs import lora_of, read_config, read_experiment
from jaxreason.training.stored_params import checked_leaves
from jaxreason.weights.peft import export_peft


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

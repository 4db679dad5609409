"""LoRA adapters in the format of PEFT (github.com/huggingface/peft): a folder of two files.

adapter_config.json says rank, scale and which modules; adapter_model.safetensors holds, for each
adapted linear layer, `base_model.model.<module>.lora_A.weight` [rank, inputs] and `.lora_B.weight`
[outputs, rank]. Pickled adapters (adapter_model.bin) are not read.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import FailureError, InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.llada import llada_places
from jaxreason.models.llama import llama_places
from jaxreason.models.lora import MATRICES, A, B, LoraConfig, check_lora, has_lora
from jaxreason.models.places import Place
from jaxreason.paths import as_path
from jaxreason.types import Params
from jaxreason.weights.config_fields import Fields, read_document, shown
from jaxreason.weights.families import FAMILIES
from jaxreason.weights.safetensors_files import read_file
from jaxreason.weights.safetensors_writing import atomic_file, write_safetensors
from jaxreason.weights.stored_tensor import StoredTensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LLADA = ("llada", "mmada")
_PREFIX, _ENDS = "base_model.model.", (".lora_A.weight", ".lora_B.weight")
_MOST_RANK, _MOST_MODULES = 2**16, 10_000

_USED = {"peft_type", "r", "lora_alpha", "use_rslora", "target_modules", "layers_to_transform"}
HARMLESS = {
    # Where the adapter comes from, and how PEFT runs it.
    *("base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping"),
    *("peft_version", "megatron_core", "runtime_config", "layers_pattern", "qalora_group_size"),
    # Of training and of initialisation that leaves the base's weights alone.
    *("lora_dropout", "ensure_weight_tying", "eva_config"),
}
"""Fields that change nothing of what a trained adapter computes."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    # PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base's weights.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    "use_dora": (False,),
    "use_qalora": (False,),
    "lora_bias": (False,),
    "modules_to_save": ([],),
    "exclude_modules": ([],),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "target_parameters": ([],),
    "loftq_config": ({},),
    "trainable_token_indices": (),
    "layer_replication": (),
    "megatron_config": (),
    "corda_config": (),
    "lora_ga_config": (),
    "velora_config": (),
    "kasa_config": (),
    "monteclora_config": (),
    "arrow_config": (),
    "use_bdlora": (),
    "alora_invocation_tokens": (),
}
"""Fields that may be null or have one of these values."""


def modules_of(config: TransformerConfig, family: str) -> dict[str, Place]:
    """Name of each linear layer that can be adapted to the place of its weight.

    Args:
        config: of the model.
        family: whose names: qwen2, qwen3, llama, mistral, llada or mmada.

    Raises:
        InputError: an unknown family.
    """
    if family not in (*FAMILIES, *LLADA):
        known = ", ".join((*FAMILIES, *LLADA))
        raise InputError(f"family {family!r} is unknown; expected one of {known}")
    base = replace(config, lora=None)
    places = llada_places(base) if family in LLADA else llama_places(base)
    return {
        name.removesuffix(".weight"): place
        for name, place in places.items()
        if place.layer is not None and place.path[-1] in MATRICES
    }


def export_peft(
    params: Params,
    config: TransformerConfig,
    folder: str | Path,
    family: str,
    *,
    base: str | None = None,
) -> None:
    """Writes the A and B among the parameters as an adapter that PEFT loads.

    Args:
        params: of a model with LoRA; nothing but A and B is read.
        config: of the model, `lora` set.
        folder: gets the two files; a new one.
        family: of the base, whose names the modules have.
        base: name or path of the base, as PEFT is to find it.

    Raises:
        InputError: no LoRA, A and B that are not those of the config, a folder with an adapter.
        FailureError: the disk is full or refuses.
    """
    folder, lora = as_path(folder), config.lora
    if lora is None:
        raise InputError("model.lora is None: there is no adapter to export")
    check_lora(params, lora)
    for name in (CONFIG, WEIGHTS):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already; choose a new folder")
    arrays: dict[str, NDArray] = {}
    names = set()
    for module, place in modules_of(config, family).items():
        kernel = place.path[-1]
        if kernel not in lora.targets:
            continue
        names.add(module.rsplit(".", 1)[-1])
        outputs, inputs = place.stored
        a, b = (np.asarray(params["layers"][kernel + end][place.layer]) for end in (A, B))
        arrays[_PREFIX + module + _ENDS[0]] = a.reshape(inputs, lora.rank).T
        arrays[_PREFIX + module + _ENDS[1]] = b.reshape(lora.rank, outputs).T
    entries = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    write_safetensors(folder / WEIGHTS, entries, arrays.values(), {"format": "pt"})
    document = _document(lora, sorted(names), base)
    with atomic_file(folder / CONFIG) as file:
        file.write((json.dumps(document, indent=2, sort_keys=True) + "\n").encode())


def _document(lora: LoraConfig, modules: list[str], base: str | None) -> dict[str, Any]:
    alpha = int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": lora.rslora,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "layers_to_transform": None,
        "layers_pattern": None,
        "use_dora": False,
    }


def import_peft(
    folder: str | Path, params: Params, config: TransformerConfig, family: str
) -> tuple[TransformerConfig, Params]:
    """A PEFT adapter beside the kernels of its base.

    Args:
        folder: adapter_config.json and adapter_model.safetensors.
        params: of the base; they are not copied.
        config: of the base.
        family: of the base, whose names the modules have.

    Returns:
        The config with `lora` set, and the parameters with A and B, NumPy arrays in float32 (which
        changes no value of a narrower dtype).

    Raises:
        InputError: a field asks for what is not done here, tensors do not fit the base; names it.
        FailureError: a file is missing or damaged.
    """
    if config.lora is not None or has_lora(params):
        raise InputError("the base has LoRA already; merge it before an adapter is read")
    folder = as_path(folder)
    fields = Fields(read_document(folder / CONFIG), str(folder / CONFIG))
    rank, alpha, rslora = _read_fields(fields, config.layers)
    if not (folder / WEIGHTS).is_file():
        more = ""
        if (folder / "adapter_model.bin").exists():
            more = "; adapter_model.bin is pickle-based and not read: save with safetensors"
        raise FailureError(f"{folder} holds no {WEIGHTS}{more}")
    tensors = {tensor.name: tensor for tensor in read_file(folder / WEIGHTS)}
    modules = modules_of(config, family)
    targets = _targets(tensors, modules, fields)
    _check_tensors(tensors, modules, targets, rank, str(folder / WEIGHTS))
    leaves: dict[str, list[NDArray]] = {}
    for module, place in modules.items():
        if (kernel := place.path[-1]) in targets:
            a, b = (tensors[_PREFIX + module + end].read().astype(np.float32) for end in _ENDS)
            split = MATRICES[kernel]
            leaves.setdefault(kernel + A, []).append(a.T.reshape(*place.ours[:split], rank))
            leaves.setdefault(kernel + B, []).append(b.T.reshape(rank, *place.ours[split:]))
    lora = LoraConfig(rank, alpha, targets, rslora)
    stacked = {name: np.stack(layers) for name, layers in leaves.items()}
    layers = {**params["layers"], **stacked}
    return replace(config, lora=lora), {**params, "layers": layers}


def _read_fields(fields: Fields, layers: int) -> tuple[int, float, bool]:
    """Rank, alpha and whether it is rsLoRA, after a look at every field."""
    for name, value in fields.values.items():
        if name in _USED | HARMLESS:
            continue
        if name not in _ONLY:
            raise fields.refuse(
                name, "it is not known what that changes, so that the adapter is not imported"
            )
        if not any(value == good and type(value) is type(good) for good in _ONLY[name]):
            allowed = " or ".join(["null", *map(repr, _ONLY[name])])
            raise fields.refuse(name, f"adapters are imported with {allowed} only")
    fields.text("peft_type", ("LORA",))
    chosen = fields.values.get("layers_to_transform")
    if chosen is not None and chosen != list(range(layers)):
        raise fields.refuse("layers_to_transform", "adapters are imported with all layers only")
    rank = fields.integer("r", most=_MOST_RANK)
    return rank, fields.number("lora_alpha"), fields.flag("use_rslora")


def _targets(
    tensors: Mapping[str, StoredTensor], modules: Mapping[str, Place], fields: Fields
) -> tuple[str, ...]:
    """Which of our kernels the adapter has; its list of modules must say the same.

    A pattern in place of a list is not run, since patterns can be made to take forever: then the
    tensors alone say it.
    """
    named = {
        module for module in modules if any(_PREFIX + module + end in tensors for end in _ENDS)
    }
    found = {modules[module].path[-1] for module in named}
    listed = fields.values.get("target_modules")
    if isinstance(listed, list):
        if len(listed) > _MOST_MODULES:
            raise fields.refuse("target_modules", f"expected at most {_MOST_MODULES:,} names")
        for module in listed:
            if not isinstance(module, str):
                raise fields.refuse("target_modules", "expected names of modules")
            meant = {m for m in modules if m == module or m.endswith(f".{module}")}
            if not meant:
                raise fields.refuse(
                    "target_modules", f"{shown(module)} is no linear layer of the base's blocks"
                )
            if missing := sorted(meant - named):
                raise fields.refuse("target_modules", f"there is no tensor of {missing[0]}")
        ends = tuple(f".{module}" for module in listed)
        if more := sorted(m for m in named if m not in listed and not m.endswith(ends)):
            raise fields.refuse("target_modules", f"there are tensors of {more[0]} besides")
    elif listed is not None and not isinstance(listed, str):
        raise fields.refuse("target_modules", "expected a list of names, or a pattern")
    if not found:
        raise fields.refuse("target_modules", "there is no tensor of a linear layer of the base")
    return tuple(kernel for kernel in MATRICES if kernel in found)


def _check_tensors(
    tensors: Mapping[str, StoredTensor],
    modules: Mapping[str, Place],
    targets: tuple[str, ...],
    rank: int,
    where: str,
) -> None:
    """That A and B of every adapted layer are there, in their shapes, and nothing else."""
    wanted = {}
    for module, place in modules.items():
        if place.path[-1] in targets:
            outputs, inputs = place.stored
            wanted[_PREFIX + module + _ENDS[0]] = (rank, inputs)
            wanted[_PREFIX + module + _ENDS[1]] = (outputs, rank)
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise InputError(f"{where} lacks {missing[0]}; every layer must have it, or none")
    if unknown := sorted(tensors.keys() - wanted.keys()):
        raise InputError(f"{where} holds {unknown[0]!r}, which is no A or B of the base's blocks")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise InputError(f"{where}: {name} has shape {tensors[name].shape}; expected {shape}")
        if tensors[name].dtype.name not in ("float32", "bfloat16", "float16"):
            raise InputError(f"{where}: {name} has dtype {tensors[name].dtype}; expected floats")

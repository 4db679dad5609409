"""`jaxreason convert SRC DST`: published folders and run directories, made of each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError
from jaxreason.paths import as_path

DIFFUSION = (
    *("mask", "eos", "eot", "mask_mode", "image_offset", "image_codes", "vocabulary_size", "seed"),
)
"""Options for LLaDA and MMaDA."""


@dataclass(frozen=True)
class Convert:
    """Make a run directory of a published (Hugging Face) folder, or such a folder of a run.

    A published folder holds config.json and safetensors files, of Qwen2, Qwen3, Llama, Mistral,
    LLaDA or MMaDA. It needs no conversion to be trained: `--base FOLDER` reads it as it is.
    Weights are checked by name and shape first, then copied block by block; a tokenizer goes with
    them. With --base FOLDER, SRC is an adapter in PEFT's format. DST appears complete or not at
    all. Pickles are refused, and Python files of a folder are never executed.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """a published folder or a run directory"""
    destination: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """a new folder"""
    to: Literal["run", "hf", "peft"] | None = None
    """what DST is to be; the other of what SRC is by default. A run that trained LoRA is merged,
    or gives its adapter alone with peft"""
    dtype: Literal["float32", "bfloat16"] | None = None
    """of the weights in DST; as they are stored by default"""
    step: int | None = None
    """which checkpoint of a run; the newest by default"""
    base: str | None = None
    """the published folder that SRC, a folder in PEFT's format, is an adapter for: DST is a run
    that trained LoRA on it"""
    shard_megabytes: int = 5000
    """how large a file of a published folder may grow"""
    mask: int | None = None
    """LLaDA and MMaDA: id of the mask token; LLaDA's 126336 in a vocabulary of its size"""
    eos: int | None = None
    """LLaDA and MMaDA: id that ends a text; LLaDA's 126081 in a vocabulary of its size"""
    eot: int | None = None
    """LLaDA and MMaDA: id that ends a turn; LLaDA's 126348 in a vocabulary of its size"""
    mask_mode: Literal["full", "bool", "legacy_float"] | None = None
    """LLaDA and MMaDA: how padding was treated in training; full unless the files say otherwise"""
    image_offset: int | None = None
    """MMaDA: id of image code 0; in published files, the length of the tokenizer"""
    image_codes: int | None = None
    """MMaDA: number of image codes; 8192 where there is an offset"""
    vocabulary_size: int | None = None
    """LLaDA: extend the vocabulary to so many ids; 134656 makes what MMaDA starts from"""
    seed: int | None = None
    """LLaDA: of the rows that are new then; 0 by default"""


def run(argv: Sequence[str]) -> None:
    """Runs the subcommand.

    Raises:
        InputError: weights or options that do not fit, an existing destination.
        FailureError: a damaged file, or a disk that refuses.
    """
    options = parse_options(Convert, argv, "jaxreason convert")
    if not as_path(options.source).exists():
        raise InputError(f"{options.source} does not exist; expected a folder to convert")
    given = {name: getattr(options, name) for name in DIFFUSION}
    given = {name: value for name, value in given.items() if value is not None}
    if options.base is not None or _is_adapter(options.source):
        print(_adapted(options, given))
        return
    published = _is_published(options.source)
    wanted = "run" if published else "hf"
    if options.to == "peft" and not published and not given:
        print(_adapter(options))
        return
    if options.to not in (None, wanted):
        kind = "a published folder" if published else "a run directory"
        raise InputError(f"to is {options.to!r}, but {options.source} is {kind}: give {wanted!r}")
    if published:
        if options.step is not None:
            raise InputError(f"step is {options.step}, but {options.source} is no run with steps")
        print(_import(options, given))
        return
    if given:
        raise InputError(f"{min(given)} is for published folders; {options.source} is a run")
    print(_export(options))


def _is_published(source: str) -> bool:
    """Whether it is a published folder, as `training.runs` tells it; else a run.

    Raises:
        InputError: it is neither.
    """
    from jaxreason.training.runs import is_published
    from jaxreason.weights.folders import open_weights

    path = as_path(source)
    described = path.is_dir() and (path / "config.json").is_file()
    if path.is_dir() and (path / "checkpoints").is_dir():
        return described and is_published(path)
    open_weights(path)  # says what is wrong with it, pickles first
    if not described:
        raise InputError(
            f"{source} has weights but no config.json beside them; expected a published folder"
        )
    return True


def _import(options: Convert, given: dict[str, Any]) -> str:
    from jaxreason.cli.progress import weights_bar
    from jaxreason.training.converting import import_run
    from jaxreason.training.pretrained import tokenizer_folder

    with weights_bar(1) as told:
        known = import_run(
            options.source, options.destination, dtype=options.dtype, told=told, **given
        )
    shape = known.model
    said = (
        f"{options.destination}: {shape.layers} layers of width {shape.width}, "
        f"{shape.vocabulary_size:,} ids"
    )
    if known.kind == "imported":
        if known.image_codes:
            said += f", images from id {known.image_offset} on"
        return f"{said}, {known.params_dtype}, mask mode {known.mask_mode}"
    tokenizer = "with" if tokenizer_folder(options.source) else "without"
    return f"{said}, {known.params_dtype}, {known.family}, {tokenizer} tokenizer"


def _is_adapter(source: str) -> bool:
    path = as_path(source)
    return (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()


def _adapted(options: Convert, given: dict[str, Any]) -> str:
    from jaxreason.cli.progress import weights_bar
    from jaxreason.training.converting import import_run
    from jaxreason.training.runs import lora_of, read_config

    if options.base is None:
        raise InputError(f"{options.source} is an adapter: give base, the folder that it is for")
    if not _is_adapter(options.source):
        raise InputError(f"base is {options.base!r}, but {options.source} is no PEFT adapter")
    if not as_path(options.base).exists() or not _is_published(options.base):
        raise InputError(f"base is {options.base!r}; expected a published folder")
    if options.to not in (None, "run"):
        raise InputError(f"to is {options.to!r}, but {options.source} is an adapter: give 'run'")
    if options.step is not None:
        raise InputError(f"step is {options.step}, but {options.source} is no run with steps")
    with weights_bar(1) as told:
        import_run(
            *(options.base, options.destination),
            **{"dtype": options.dtype, "told": told, "adapter": options.source, **given},
        )
    lora = lora_of(read_config(options.destination))
    assert lora is not None
    return (
        f"{options.destination}: {options.base} with an adapter of rank {lora.rank}, "
        f"{', '.join(lora.targets)}"
    )


def _adapter(options: Convert) -> str:
    from jaxreason.training.adapters import export_adapter

    if options.dtype is not None:
        raise InputError(f"dtype is {options.dtype!r}; an adapter is written as it was trained")
    lora = export_adapter(options.source, options.destination, options.step).lora
    assert lora is not None
    return f"{options.destination}: PEFT adapter of rank {lora.rank}, {', '.join(lora.targets)}"


def _export(options: Convert) -> str:
    from jaxreason.cli.progress import weights_bar
    from jaxreason.training.converting import export_run
    from jaxreason.weights.folders import open_weights

    if options.shard_megabytes < 1:
        raise InputError(f"shard_megabytes is {options.shard_megabytes}; expected at least 1")
    with weights_bar(1) as told:
        known = export_run(
            options.source,
            options.destination,
            step=options.step,
            shard_bytes=options.shard_megabytes * 10**6,
            dtype=options.dtype,
            told=told,
        )
    written = open_weights(options.destination)
    files = len(list(as_path(options.destination).glob("*.safetensors")))
    dtype = next(iter(written.tensors.values())).dtype
    layout = known.family if known.kind == "pretrained" else "llada"
    mode = f", mask mode {written.metadata['mask_mode']}" if layout == "llada" else ""
    return f"{options.destination}: {files} files, {dtype}, {layout}{mode}"

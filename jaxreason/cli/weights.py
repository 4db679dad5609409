"""`jaxreason weights import|export`: published LLaDA and MMaDA checkpoints and runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from jaxreason.cli.main import suggestion
from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError
from jaxreason.paths import as_path

HELP = "make a run of published LLaDA or MMaDA weights, or publish a run's"
_USAGE = f"""usage: jaxreason weights import FOLDER --run DIRECTORY
       jaxreason weights export RUN FOLDER

{HELP}; see `import --help` and `export --help`"""


@dataclass(frozen=True)
class Import:
    """Make a run directory of a published checkpoint: its parameters are step 0.

    FOLDER holds safetensors files and config.json, with the names of GSAI-ML/LLaDA-8B and
    Gen-Verse/MMaDA-8B. Every name and shape is checked before anything is read.
    """

    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """the checkpoint"""
    run: str
    """a new run directory"""
    mask: int | None = None
    """id of the mask token; LLaDA's 126336 in a vocabulary of its size"""
    eos: int | None = None
    """id that ends a text; LLaDA's 126081 in a vocabulary of its size"""
    eot: int | None = None
    """id that ends a turn; LLaDA's 126348 in a vocabulary of its size"""
    mask_mode: Literal["full", "bool", "legacy_float"] | None = None
    """how padding was treated in training; full (in plain view) unless the files say otherwise"""
    image_offset: int | None = None
    """id of image code 0; in published MMaDA files, the length of its tokenizer"""
    image_codes: int | None = None
    """number of image codes; 8192 where there is an offset"""
    dtype: Literal["float32", "bfloat16"] | None = None
    """of the parameters; as stored by default"""
    vocabulary_size: int | None = None
    """extend the vocabulary to so many ids: 134656 makes a LLaDA what MMaDA starts from"""
    seed: int = 0
    """of the rows that are new then"""


@dataclass(frozen=True)
class Export:
    """Write a run's model as safetensors with LLaDA's names, whole or not at all."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """run directory of a masked-diffusion model"""
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """a new folder"""
    step: int | None = None
    """which checkpoint; the newest by default"""
    shard_megabytes: int = 5000
    """how large a file may grow"""
    dtype: Literal["float32", "bfloat16"] | None = None
    """to write; the run's own by default"""


def run(argv: Sequence[str]) -> int:
    """Runs `jaxreason weights ...`; see `HELP`.

    Raises:
        InputError: weights that do not fit, an existing directory, an unknown subcommand.
        FailureError: a damaged file, or a disk that refuses.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    if name == "import":
        print(_import(parse_options(Import, rest, "jaxreason weights import")))
    elif name == "export":
        print(_export(parse_options(Export, rest, "jaxreason weights export")))
    else:
        close = suggestion(name, ("import", "export")) or "; expected import or export"
        raise InputError(f"subcommand {name!r} of `jaxreason weights` is unknown{close}")
    return 0


def _import(options: Import) -> str:
    from jaxreason.training.diffusion.imported import import_run

    imported = import_run(
        options.folder,
        options.run,
        mask=options.mask,
        eos=options.eos,
        eot=options.eot,
        mask_mode=options.mask_mode,
        image_offset=options.image_offset,
        image_codes=options.image_codes,
        dtype=options.dtype,
        vocabulary_size=options.vocabulary_size,
        seed=options.seed,
    )
    shape = imported.model
    images = f", images from id {imported.image_offset} on" if imported.image_codes else ""
    return (
        f"{options.run}: {shape.layers} layers of width {shape.width}, {shape.vocabulary_size:,} "
        f"ids{images}, {imported.params_dtype}, mask mode {imported.mask_mode}"
    )


def _export(options: Export) -> str:
    from jaxreason.training.diffusion.imported import export_run

    if options.shard_megabytes < 1:
        raise InputError(f"shard_megabytes is {options.shard_megabytes}; expected at least 1")
    metadata = export_run(
        options.run,
        options.folder,
        step=options.step,
        shard_bytes=options.shard_megabytes * 10**6,
        dtype=options.dtype,
    )
    files = len(list(as_path(options.folder).glob("*.safetensors")))
    return f"{options.folder}: {files} files, mask mode {metadata.mask_mode}"

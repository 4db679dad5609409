"""Folders of published weights as the start of training, and the tokenizers that belong to them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.models.llada import llada_places
from jaxreason.models.places import Place, check_places
from jaxreason.paths import as_path, is_local, remove_tree
from jaxreason.tokens.tokenizer_files import GENERATION, present, read_json
from jaxreason.training.files import write_atomically
from jaxreason.types import Params
from jaxreason.weights.config_fields import read_document
from jaxreason.weights.folders import StoredWeights
from jaxreason.weights.placed import Dtype, stored_dtype
from jaxreason.weights.pretrained import (
    PretrainedShape,
    checked_places,
    import_pretrained,
    pretrained_config,
)

if TYPE_CHECKING:
    from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

DIFFUSION_TYPES = ("llada", "mmada")
"""`model_type` of folders that are read as an `ImportedModel`."""


@dataclass(frozen=True)
class PretrainedModel:
    """A next-token model whose weights are those of a published folder.

    Attributes:
        model: shape and numerics.
        family: which layout of files it has: qwen2, qwen3, llama or mistral.
        settings: what config.json there says besides the shape; an export says it again.
        params_dtype: in which the parameters are read.
        source: the folder.
    """

    model: TransformerConfig
    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    params_dtype: Dtype = "bfloat16"
    source: str = ""

    kind: ClassVar[str] = "pretrained"

    def transformer(self) -> Transformer:
        """The model."""
        return Transformer(self.model)

    def shape(self) -> PretrainedShape:
        """As `jaxreason.weights.pretrained` takes it."""
        return PretrainedShape(self.model, self.family, self.settings)

    def words(self) -> str:
        """What the vocabulary is of, for messages."""
        return f"the tokens of {self.source or 'published weights'}"

    def as_json(self) -> dict[str, Any]:
        """What config.json holds; `training.runs` reads it back."""
        return {"kind": self.kind, **asdict(self)}


def pretrained_model(folder: str | Path, dtype: Dtype | None = None, **options: Any) -> Any:
    """What a published folder holds, from its config.json and the headers of its files.

    Args:
        folder: config.json and safetensors files.
        dtype: of parameters and computation; as stored if None (float16 and mixtures are widened
            to float32, which changes no value).
        **options: of `imported_model`, for LLaDA and MMaDA.

    Returns:
        A `PretrainedModel`; of LLaDA and MMaDA an `ImportedModel`, with the ids that the files
        give, or those of LLaDA.

    Raises:
        InputError: a family, a field or an option that does not fit; names it.
        FailureError: a file is missing or damaged.
    """
    model_type = read_document(as_path(folder) / "config.json").get("model_type")
    if model_type in DIFFUSION_TYPES:
        from jaxreason.training.diffusion.imported import imported_model

        return imported_model(folder, dtype=dtype, **options)
    if options:
        raise InputError(
            f"{min(options)} is an option for LLaDA and MMaDA; {folder} has model_type "
            f"{model_type!r}"
        )
    dtype = dtype or stored_dtype(folder)
    shape = pretrained_config(folder, dtype)
    return PretrainedModel(shape.model, shape.family, dict(shape.settings), dtype, str(folder))


def load_pretrained(
    folder: str | Path, shardings: Any = None, dtype: Dtype | None = None
) -> tuple[Any, Params]:
    """What `pretrained_model` gives, and its parameters, read onto the devices.

    Args:
        folder: config.json and safetensors files.
        shardings: tree of `jax.sharding.Sharding` shaped like the parameters; each device is
            given its own part of each tensor, and no more is held. The first device if None.
        dtype: of parameters and computation; as stored if None.

    Raises:
        InputError: a family or a field that our model does not have, weights that do not fit.
        FailureError: a file is missing or damaged.
    """
    known = pretrained_model(folder, dtype)
    if shardings is None:
        one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = jax.eval_shape(known.transformer().init, jax.random.key(0))
        shardings = jax.tree.map(lambda _: one, shapes)
    if known.kind != PretrainedModel.kind:
        from jaxreason.weights.llada import import_llada

        dtype = known.params_dtype
        return known, import_llada(folder, known.model, dtype=dtype, shardings=shardings)
    _, params = import_pretrained(folder, dtype=known.params_dtype, shardings=shardings)
    return known, params


def places_of(known: Any, weights: StoredWeights) -> dict[str, Place]:
    """Where each weight belongs in our parameters, after a check that all are there.

    Args:
        known: what `pretrained_model` gave.
        weights: of its folder; an `ImportedModel` whose vocabulary was extended may have more
            ids than they.

    Raises:
        InputError: a weight is missing, unknown or of another shape.
        FailureError: a file cannot be read.
    """
    if isinstance(known, PretrainedModel):
        return checked_places(weights, known.shape())
    rows = weights.shapes.get("model.transformer.wte.weight", (0,))[0]
    places = llada_places(replace(known.model, vocabulary_size=rows))
    check_places("LLaDA", weights.shapes, places)
    return places


def tokenizer_folder(path: str | Path) -> Path | None:
    """Where the tokenizer of a published folder or of a run directory lies; None without one."""
    folder = as_path(path)
    for place in (folder / "tokenizer", folder):
        if (place / "tokenizer.json").is_file():
            return place
    return None


def tokenizer_of(path: str | Path) -> "PretrainedTokenizer | None":
    """The tokenizer of a published folder, or the one that a run directory has kept.

    Args:
        path: a folder with tokenizer.json, or a run directory with `tokenizer/`.

    Returns:
        None if there is no tokenizer.json.

    Raises:
        FailureError: its files are damaged.
    """
    folder = tokenizer_folder(path)
    if folder is None:
        return None
    from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

    return PretrainedTokenizer(folder)


def tokenizer_texts(path: str | Path) -> dict[str, bytes]:
    """The files of the tokenizer by name, tokenizer.json last; empty without one.

    Raises:
        FailureError: a file cannot be read.
    """
    folder = tokenizer_folder(path)
    if folder is None:
        return {}
    try:
        return {name: file.read_bytes() for name, file in present(folder).items()}
    except OSError as error:
        raise FailureError(f"{folder} cannot be read: {error.strerror or error}") from error


def keep_tokenizer(base: str | Path, run_directory: str | Path, *, chat: bool = False) -> None:
    """Copies the tokenizer of a base into `tokenizer/` of a run, so that the run stands alone.

    Without a tokenizer in the base nothing happens. It appears complete or not at all; in an
    object store file by file, tokenizer.json last: without it, an earlier start was interrupted.
    Only the first of several processes writes.

    Args:
        base: a published folder or a run directory.
        run_directory: of the run; made if it is not there.
        chat: the run learns conversations: its generation_config.json also names the tokens that
            end a turn, which base models often lack.

    Raises:
        InputError: the run has kept another tokenizer, so that its ids, its prompts or the ends
            of its answers mean something else.
        FailureError: a file cannot be read, or the disk refuses.
    """
    texts = tokenizer_texts(base)
    place = as_path(run_directory) / "tokenizer"
    if not texts:
        return
    if chat and (more := _chat_generation(base)):
        texts = more | {name: text for name, text in texts.items() if name not in more}
    kept = tokenizer_texts(place)
    if kept:
        changed = [n for n in (*texts, *kept) if texts.get(n) != kept.get(n)]
        if changed:
            raise InputError(
                f"run {run_directory} was started with another tokenizer than that of "
                f"{base} ({changed[0]} differs); use the same base or another run directory"
            )
    elif jax.process_index() == 0:
        write_files(place, texts)


def _chat_generation(base: str | Path) -> dict[str, bytes]:
    """generation_config.json with all that ends an answer; nothing if it says so already."""
    tokenizer = tokenizer_of(base)
    if tokenizer is None or tokenizer.chat_stops == tokenizer.stops:
        return {}
    settings = read_json(tokenizer.folder / GENERATION)
    settings["eos_token_id"] = list(tokenizer.chat_stops)
    return {GENERATION: (json.dumps(settings, indent=2) + "\n").encode()}


def write_files(folder: Path, texts: Mapping[str, bytes]) -> None:
    """A new folder with these files, complete or (on a local disk) not at all.

    Raises:
        FailureError: the disk is full or refuses.
    """
    into = folder.with_name(folder.name + ".partial") if is_local(folder) else folder
    with disk_errors(str(folder)):
        remove_tree(into)  # what an interrupted start has left
        for name, text in texts.items():
            write_atomically(into / name, text)
        if into != folder:
            remove_tree(folder)  # something else than a tokenizer, or it would not be written
            into.replace(folder)

"""Published weights as a run directory, and runs as published weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.models.attention import MaskMode
from jaxreason.models.presets import preset
from jaxreason.tokens.multimodal_vocabulary import mmada_ids
from jaxreason.weights.json_text import shown
from jaxreason.weights.llada_settings import (
    LladaMetadata,
    llada_config,
    llada_metadata,
    other_settings,
)
from jaxreason.weights.placed import Dtype, stored_dtype

LLADA_MASK, LLADA_EOS, LLADA_EOT = 126_336, 126_081, 126_348
LLADA_SIZE = 126_464


@dataclass(frozen=True)
class ImportedModel:
    """A masked-diffusion model whose weights were read from published files.

    Attributes:
        model: shape and numerics.
        mask: id of the mask token.
        eos: id that ends a text, and pads it.
        mask_mode: how padding was treated in training, see `AttentionSpec`; what samplers should
            be given to reproduce the published model.
        image_offset: id of image code 0; None if not known, or a model of text alone.
        image_codes: number of image codes.
        params_dtype: in which the parameters are stored.
        source: the folder they were read from.
        eot: id that ends a turn, which ends an answer too; None if not known.
        settings: what config.json there says besides; an export says it again.

    Raises:
        InputError: an id or the images lie outside the vocabulary.
    """

    model: TransformerConfig
    mask: int
    eos: int
    mask_mode: MaskMode = "full"
    image_offset: int | None = None
    image_codes: int = 0
    params_dtype: Dtype = "bfloat16"
    source: str = ""
    eot: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    kind: ClassVar[str] = "imported"

    def __post_init__(self) -> None:
        size = self.model.vocabulary_size
        for name, number in (("mask", self.mask), ("eos", self.eos), ("eot", self.eot)):
            if number is not None and not 0 <= number < size:
                raise InputError(f"{name} is {number}; the model has ids 0..{size - 1}")
        self.metadata()
        if (self.image_offset is None) != (self.image_codes == 0):
            raise InputError(
                f"image_offset is {self.image_offset} and image_codes {self.image_codes}; expected "
                "both or neither"
            )
        if (self.image_offset or 0) + self.image_codes > size:
            raise InputError(
                f"image_codes {self.image_codes} from image_offset {self.image_offset} on end "
                f"beyond the model's {size} ids"
            )

    def metadata(self) -> LladaMetadata:
        """What goes into the headers of exported files."""
        return LladaMetadata(
            self.mask_mode, self.image_offset, self.image_codes, self.mask, self.eos, self.eot
        )

    def transformer(self) -> Transformer:
        """The model."""
        return Transformer(self.model)

    def words(self) -> str:
        """What the vocabulary is of, for messages."""
        return f"the tokens of {self.source or 'published weights'}"

    def as_json(self) -> dict[str, Any]:
        """What config.json holds; `training.runs` reads it back."""
        return {"kind": self.kind, **asdict(self)}


def published_shape(name: str) -> ImportedModel:
    """LLaDA or MMaDA as published, for compiling ahead without their weights.

    Args:
        name: "llada_8b" or "mmada_8b" of `models.presets`.
    """
    ids, pictured = mmada_ids(), name == "mmada_8b"
    return ImportedModel(
        preset(name),
        LLADA_MASK,
        LLADA_EOS,
        image_offset=ids.image_offset if pictured else None,
        image_codes=ids.image_codes if pictured else 0,
        source=name,
        eot=LLADA_EOT,
    )


def imported_model(
    folder: str | Path,
    *,
    mask: int | None = None,
    eos: int | None = None,
    eot: int | None = None,
    mask_mode: MaskMode | None = None,
    image_offset: int | None = None,
    image_codes: int | None = None,
    dtype: Dtype | None = None,
    vocabulary_size: int | None = None,
) -> ImportedModel:
    """What a folder of a LLaDA or MMaDA checkpoint holds; parameters are not read.

    What is not given is taken from the files' metadata, then from config.json.

    Args:
        folder: safetensors files with config.json.
        mask: id of the mask token; LLaDA's 126336 in a vocabulary of its size.
        eos: id that ends a text; LLaDA's 126081 in a vocabulary of its size.
        eot: id that ends a turn; LLaDA's 126348 in a vocabulary of its size, else none.
        mask_mode: how padding was treated in training.
        image_offset: id of image code 0: in published MMaDA files, the length of its tokenizer.
        image_codes: number of image codes; the published 8192 where an offset is given.
        dtype: of the parameters; see `stored_dtype` if None.
        vocabulary_size: extend the vocabulary to so many ids.

    Raises:
        InputError: an architecture other than LLaDA's, an id that is not in the vocabulary or has
            to be given.
        FailureError: a file is damaged.
    """
    dtype = dtype or stored_dtype(folder)
    kept = llada_metadata(folder)
    config = llada_config(folder, dtype=dtype)
    settings = other_settings(folder)
    offset, codes = _images(kept, image_offset, image_codes)
    size = _extended(vocabulary_size, config, folder)
    stated = [_stated(folder, settings, name) for name in ("mask_token_id", "eos_token_id")]
    return ImportedModel(
        replace(config, vocabulary_size=size),
        _id("mask", (mask, kept.mask, stated[0]), LLADA_MASK, config),
        _id("eos", (eos, kept.eos, stated[1]), LLADA_EOS, config),
        mask_mode or kept.mask_mode,
        offset,
        codes,
        dtype,
        str(folder),
        _eot(kept.eot if eot is None else eot, config),
        settings,
    )


def _stated(folder: str | Path, settings: Mapping[str, Any], name: str) -> int | None:
    value = settings.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise FailureError(f"{folder}/config.json: {name} is {shown(value)}; expected one id")
    return value


def _images(kept: LladaMetadata, offset: int | None, codes: int | None) -> tuple[int | None, int]:
    """Id of image code 0 and number of codes: as given, else as the files say."""
    offset = kept.image_offset if offset is None else offset
    if codes is not None:
        return offset, codes
    return offset, kept.image_codes or (0 if offset is None else 8192)


def _extended(wanted: int | None, config: TransformerConfig, folder: str | Path) -> int:
    size = config.vocabulary_size if wanted is None else wanted
    if size < config.vocabulary_size:
        raise InputError(
            f"vocabulary_size is {size}; {folder} has {config.vocabulary_size} ids, so expected "
            "at least as many"
        )
    return size


def _id(name: str, given: tuple[int | None, ...], llada: int, config: TransformerConfig) -> int:
    """The first that is given, else LLaDA's."""
    for number in given:
        if number is not None:
            return number
    if config.vocabulary_size < LLADA_SIZE:
        raise InputError(
            f"{name} must be given: a vocabulary of {config.vocabulary_size} ids is not LLaDA's"
        )
    return llada


def _eot(given: int | None, config: TransformerConfig) -> int | None:
    return LLADA_EOT if given is None and config.vocabulary_size >= LLADA_SIZE else given

"""The ids around a picture in the prompts of an image-text diffusion model."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.tokens.multimodal_vocabulary import mmada_ids
from jaxreason.training.diffusion.imported import ImportedModel


class VisionTokens(NamedTuple):
    """The ids around a picture.

    Attributes:
        mmu: task token, picture and question to answer.
        soi: start of a picture.
        eoi: end of a picture.
        bos: begins a text.
        image_offset: id of image code 0.
    """

    mmu: int
    soi: int
    eoi: int
    bos: int
    image_offset: int


def vision_tokens(
    known: Any, tokenizer: Any, codec: ImageCodec, ids: Sequence[int] | None = None
) -> VisionTokens:
    """The ids around a picture, checked against model, tokenizer and codec.

    Args:
        known: what was imported.
        tokenizer: of the model.
        codec: of the pictures.
        ids: of `<mmu>`, `<soi>` and `<eoi>`; MMaDA's where the vocabulary has its size.

    Raises:
        InputError: a model of another kind, ids that are not known, or codes that it does not have.
    """
    if not isinstance(known, ImportedModel):
        raise InputError(
            f"the model is of kind {getattr(known, 'kind', 'maze')!r}; expected imported weights "
            "of MMaDA (`jaxreason convert`)"
        )
    size, published = known.model.vocabulary_size, mmada_ids()
    offset, count = known.image_offset, known.image_codes
    if offset is None and size == published.size:
        # the published files do not say; there, an image id is its code plus this length
        offset, count = tokenizer.size, published.image_codes
    if offset is None:
        raise InputError(
            "the model has no image tokens, or does not say where they start; import it with "
            "image_offset and image_codes"
        )
    if ids is None:
        if size != published.size:
            raise InputError(
                f"ids must be given: a vocabulary of {size} ids is not MMaDA's ({published.size}); "
                "expected those of <mmu>, <soi> and <eoi>"
            )
        ids = published.mmu, published.soi, published.eoi
    for number in ids:
        if not 0 <= number < offset:
            raise InputError(f"ids has {number}; expected ids of text, 0 to {offset - 1}")
    if codec.codes != count:
        raise InputError(
            f"the image tokenizer has {codec.codes} codes and the model {count}; they must agree"
        )
    mmu, soi, eoi = ids
    return VisionTokens(mmu, soi, eoi, _bos(tokenizer), offset)


def _bos(tokenizer: Any) -> int:
    bos = getattr(tokenizer, "bos", None)
    return int(tokenizer.id("<|startoftext|>") if bos is None else bos)

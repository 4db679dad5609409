"""Checks of what a sampler of pictures is given, before anything is compiled."""

import numpy as np

from jaxreason.errors import InputError
from jaxreason.models.transformer import Transformer
from jaxreason.sampling.diffusion.checks import check_integers, readable
from jaxreason.types import Batch

_TWIN = ("unconditional_tokens", "unconditional_keys")


def check_arguments(
    model: Transformer, image_offset: int, image_codes: int, mask_id: int, samples: int
) -> None:
    """Ids that fit the model, and a model that sees both sides.

    Raises:
        InputError: one of them does not.
    """
    size = model.config.vocabulary_size
    if model.config.attention != "bidirectional":
        raise InputError(
            f"model.attention is {model.config.attention!r}; masked diffusion of pictures needs a "
            "model that was trained to see both sides ('bidirectional')"
        )
    if image_codes < 1 or image_offset < 0 or image_offset + image_codes > size:
        raise InputError(
            f"image_offset {image_offset} and image_codes {image_codes} give ids up to "
            f"{image_offset + image_codes - 1}; the model has ids 0 to {size - 1}"
        )
    if not 0 <= mask_id < size or image_offset <= mask_id < image_offset + image_codes:
        raise InputError(
            f"mask_id is {mask_id}; expected an id below {size} that is not an image id "
            f"({image_offset} to {image_offset + image_codes - 1})"
        )
    if samples < 1:
        raise InputError(f"samples is {samples}; it must be at least 1")


def check_prompts(
    prompts: Batch,
    *,
    tokens: int,
    guided: bool,
    image_offset: int,
    image_codes: int,
    mask_id: int,
    vocabulary_size: int,
) -> tuple[str, ...]:
    """The names a sampler of pictures reads.

    Shapes are checked always, contents only if they are all here (not within a jitted
    function, nor partly with other processes).

    Raises:
        InputError: an array is missing or of another shape than [B, T]; a row without exactly
            `tokens` image slots; an image slot that holds neither the mask id nor an image id or
            is hidden by `keys`; an id that is no whole number or that the model does not have.
    """
    names = ("tokens", "keys", "image") + (_TWIN if guided else ())
    for name in names:
        if name not in prompts:
            why = "guidance needs an unconditional twin of each row; " if name in _TWIN else ""
            raise InputError(f"prompts have no {name!r}; {why}expected {', '.join(names)} [B, T]")
    shape = prompts["tokens"].shape
    for name in names:
        if len(shape) != 2 or 0 in shape or prompts[name].shape != shape:
            raise InputError(
                f"prompts have {name} of shape {prompts[name].shape} and tokens of shape {shape}; "
                "expected the same [B, T], not empty"
            )
        if name.endswith("tokens"):
            check_integers(prompts[name], f"prompts have {name}")
    if not all(readable(prompts[name]) for name in names):
        return names
    arrays = {name: np.asarray(prompts[name]) for name in names}
    _check_slots(arrays, tokens, mask_id, image_offset, image_codes)
    for name in names:
        if name.endswith("tokens"):
            ids = arrays[name]
            _first_wrong(
                (ids < 0) | (ids >= vocabulary_size), ids, name, f"0 to {vocabulary_size - 1}"
            )
    return names


def _check_slots(
    arrays: dict[str, np.ndarray], tokens: int, mask_id: int, image_offset: int, image_codes: int
) -> None:
    image, ids = arrays["image"], arrays["tokens"]
    for name, array in arrays.items():
        if not name.endswith("tokens") and array.dtype != bool:
            raise InputError(f"prompts have {name} of dtype {array.dtype}; expected bool")
    counts = image.sum(axis=1)
    if (counts != tokens).any():
        row = int(np.flatnonzero(counts != tokens)[0])
        raise InputError(
            f"prompt {row} has {int(counts[row])} image slots; config.tokens expects {tokens}"
        )
    known = (ids >= image_offset) & (ids < image_offset + image_codes)
    expected = f"the mask id {mask_id} or an image id {image_offset} to "
    expected += str(image_offset + image_codes - 1)
    _first_wrong(image & ~known & (ids != mask_id), ids, "image tokens", expected)
    for name, array in arrays.items():
        if name.endswith("keys"):
            _first_wrong(image & ~array, array, f"{name} at image slots", "True: they are real")


def _first_wrong(wrong: np.ndarray, values: np.ndarray, name: str, expected: str) -> None:
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"prompt {row} has {values[row, column]} at position {column} of {name}; "
            f"expected {expected}"
        )

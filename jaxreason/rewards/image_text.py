"""Rewards of pictures for how well they fit a text, by models that are passed in as functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.rewards.pictures import PictureReward, check_pictures
from jaxreason.rewards.reward import Reward

Scorer = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""`(texts, pictures) -> [B] float32`; pictures are uint8 [B, rows, columns, 3]."""

PAPER_WEIGHT = 0.1
"""MMaDA's reward of a picture is 0.1 CLIP + 0.1 ImageReward (Yang et al. 2025, section 2.3.2)."""


def image_text_reward(
    scorers: Mapping[str, Scorer | None],
    weights: float | Mapping[str, float] = PAPER_WEIGHT,
    describe: Callable[[Any], str] = str,
) -> PictureReward:
    """The weighted sum of what scorers say of picture and description.

    `image_text_reward({"clip": clip, "image_reward": image_reward})` is the paper's reward; see
    `jaxreason.training.diffusion.picture_scorers` for such scorers. The paper does not say on which
    scale CLIP counts; its tables have 100 times the cosine.

    The breakdown holds each scorer's own numbers, before weighting.

    Args:
        scorers: name to scorer.
        weights: one for all, or one for each name.
        describe: the text of a problem; problems that are texts need none.

    Raises:
        InputError: no scorer at all, one that is None (its model could not be loaded), or weights
            for other names; from the reward, pictures that do not fit.
        FailureError: from the reward, a scorer that gives anything but one finite number for each
            picture.
    """
    if not scorers:
        raise InputError("there is no scorer; expected at least one, such as clip")
    for name, scorer in scorers.items():
        if not callable(scorer):
            raise InputError(
                f"the reward model {name!r} is absent: its scorer is {scorer!r}; load its weights "
                "first, or leave it out"
            )
    by_name = dict(weights) if isinstance(weights, Mapping) else dict.fromkeys(scorers, weights)
    if set(by_name) != set(scorers):
        raise InputError(
            f"weights are for {sorted(by_name)}; expected one for each of {sorted(scorers)}"
        )
    for name, weight in by_name.items():
        if not np.isfinite(weight):
            raise InputError(f"the weight of {name!r} is {weight}; expected a finite number")
    present = {name: scorer for name, scorer in scorers.items() if scorer is not None}

    def reward(problems: Sequence[Any], pictures: np.ndarray) -> Reward:
        pictures = check_pictures(problems, pictures)
        texts = [describe(problem) for problem in problems]
        breakdown = {
            name: _checked(name, scorer(texts, pictures), len(texts))
            for name, scorer in present.items()
        }
        total = sum(by_name[name] * values for name, values in breakdown.items())
        return Reward(np.asarray(total, np.float32), breakdown)

    return reward


def colour_words_scorer(colours: Mapping[str, Sequence[int]]) -> Scorer:
    """A scorer without weights: 100 times the cosine between words of colours and their pixels.

    As CLIP, it compares a text with a picture and knows little of places. Each pixel counts for
    the nearest of the colours, each word of the text for its own; a text without such words, like
    an empty picture, scores 0.

    Args:
        colours: word to red, green and blue, 0 to 255.

    Raises:
        InputError: fewer than two colours, or one that is not three numbers of 0 to 255.
    """
    values = np.array(list(colours.values()), np.float64)
    if values.ndim != 2 or len(values) < 2 or values.shape[1] != 3 or not _bytes(values):
        raise InputError(f"colours are {dict(colours)}; expected two or more of 3 numbers 0..255")
    words = list(colours)

    def score(texts: Sequence[str], pictures: np.ndarray) -> np.ndarray:
        pixels = np.asarray(pictures, np.float64).reshape(len(pictures), -1, 1, 3)
        nearest = np.square(pixels - values).sum(-1).argmin(-1)
        shown = np.stack([(nearest == i).sum(1) for i in range(len(words))], axis=1)
        split = [text.split() for text in texts]
        said = np.array([[text.count(word) for word in words] for text in split], np.float64)
        lengths = np.linalg.norm(shown, axis=1) * np.linalg.norm(said, axis=1)
        cosine = (shown * said).sum(axis=1) / np.maximum(lengths, 1e-12)
        return (100 * cosine).astype(np.float32)

    return score


def _bytes(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 255)).all())


def _checked(name: str, values: Any, count: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.floating):
        raise FailureError(
            f"the scorer {name!r} gave {array.dtype} of shape {array.shape}; expected "
            f"floating-point numbers of shape ({count},)"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise FailureError(f"the scorer {name!r} gave {array[row]} for picture {row}")
    return array.astype(np.float32)

"""Models of picture and text as scorers for `jaxreason.rewards.image_text`.

Nothing is downloaded: weights come from a folder on disk, and what is missing is said at once.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.models.clip import Clip
from jaxreason.models.clip_config import ClipConfig
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.models.reward_head import RewardHead
from jaxreason.paths import as_path
from jaxreason.rewards.image_text import Scorer
from jaxreason.types import Params
from jaxreason.weights.clip import import_clip

Tokenize = Callable[[Sequence[str]], np.ndarray]
"""`texts -> int32 [B, text_length]`, each text with its end token, then anything."""

Features = Callable[[Sequence[str], np.ndarray], Any]
"""`(texts, pictures) -> [B, D]` of any model that sees both."""


def clip_scorer(
    model: Clip, params: Params, tokenize: Tokenize, scale: float = 100.0, batch_size: int = 32
) -> Scorer:
    """`scale` times the cosine of the angle between picture and text (CLIPScore without its floor).

    Pictures go through the model `batch_size` at a time, the last ones filled up, so that one
    program is compiled.

    Args:
        model: CLIP.
        params: its parameters.
        tokenize: texts to ids of this model.
        scale: 100 gives the numbers that tables of text-to-image models report.
        batch_size: pictures at a time.

    Raises:
        InputError: a batch size below 1; from the scorer, ids or pictures that do not fit.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected at least 1")

    @jax.jit
    def similarity(params: Params, tokens: jax.Array, pixels: jax.Array) -> jax.Array:
        text = model.text_features(params, tokens)
        return model.similarity(text, model.image_features(params, pixels))

    def score(texts: Sequence[str], pictures: np.ndarray) -> np.ndarray:
        tokens = check_tokens(tokenize(texts), len(texts), model.config)
        scores = []
        for start in range(0, len(texts), batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), len(texts) - 1)
            pixels = clip_pixels([pictures[row] for row in rows], model.config.image_size)
            scores.append(np.asarray(similarity(params, tokens[rows], pixels)))
        found = np.concatenate([*scores, np.zeros(0, np.float32)])
        return (scale * found[: len(texts)]).astype(np.float32)

    return score


def head_scorer(features: Features, head: RewardHead, params: Params) -> Scorer:
    """ImageReward's form: its head on features of picture and text.

    Args:
        features: of a model that sees both; ImageReward's is BLIP's text encoder at the first
            token, which attends to the picture.
        head: turns them into a number.
        params: the head's.
    """
    apply = jax.jit(head.apply)

    def score(texts: Sequence[str], pictures: np.ndarray) -> np.ndarray:
        return np.asarray(apply(params, jnp.asarray(features(texts, pictures))), np.float32)

    return score


def load_clip_scorer(folder: str | Path, scale: float = 100.0, batch_size: int = 32) -> Scorer:
    """A scorer from a folder as transformers publishes CLIP.

    Args:
        folder: holds config.json, the weights as safetensors, and tokenizer.json.
        scale: see `clip_scorer`.
        batch_size: see `clip_scorer`.

    Raises:
        InputError: no such folder, weights that do not fit config.json, or the `tokenizers`
            package is not installed.
        FailureError: a file is missing or damaged.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise InputError(
            f"the reward model is absent: {folder} is no folder; expected one with config.json, "
            "tokenizer.json and the safetensors files of a CLIP model"
        )
    tokenize = load_tokenizer(folder / "tokenizer.json")
    config, params = import_clip(folder, dtype="float32")
    return clip_scorer(Clip(config), params, _fixed_length(tokenize, config), scale, batch_size)


def load_tokenizer(path: Path) -> Callable[[Sequence[str], int], list[list[int]]]:
    """`(texts, length) -> ids`, cut to the length so that the end token stays.

    Raises:
        InputError: the `tokenizers` package is not installed.
        FailureError: the file is missing or damaged.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise InputError(
            f"reading {path} needs the package tokenizers; install the extra `hf`"
        ) from None
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except Exception as error:  # the package raises nothing narrower
        raise FailureError(f"{path} cannot be read as a tokenizer: {error}") from error

    def encode(texts: Sequence[str], length: int) -> list[list[int]]:
        tokenizer.enable_truncation(length)
        tokenizer.no_padding()
        return [encoded.ids for encoded in tokenizer.encode_batch(list(texts))]

    return encode


def _fixed_length(
    encode: Callable[[Sequence[str], int], list[list[int]]], config: ClipConfig
) -> Tokenize:
    def tokenize(texts: Sequence[str]) -> np.ndarray:
        rows = encode(texts, config.text_length)
        tokens = np.zeros((len(rows), config.text_length), np.int32)
        for i, (row, ids) in enumerate(zip(tokens, rows, strict=True)):
            if not ids:
                raise InputError(f"text {i} is {texts[i]!r}, for which the tokenizer has no id")
            # what follows the end token is not seen, and never higher than it
            row[:] = ids[-1]
            row[: len(ids)] = ids
        return tokens

    return tokenize


def check_tokens(tokens: np.ndarray, count: int, config: ClipConfig) -> np.ndarray:
    """Ids [count, T] as an array.

    Raises:
        InputError: another shape, more tokens than the model reads, an id it does not have, or a
            text without its end token.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or len(tokens) != count or not 1 <= tokens.shape[1] <= config.text_length:
        raise InputError(
            f"texts have ids of shape {tokens.shape}; expected [{count}, up to "
            f"{config.text_length}]"
        )
    wrong = (tokens < 0) | (tokens >= config.vocabulary_size)
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        raise InputError(
            f"text {row} has id {tokens[wrong][0]}; expected 0 to {config.vocabulary_size - 1}"
        )
    if config.end_token is not None:
        endless = ~(tokens == config.end_token).any(axis=1)
        if endless.any():
            raise InputError(
                f"text {int(endless.argmax())} lacks the end token {config.end_token}, at which "
                "the model reads it"
            )
    return tokens.astype(np.int32)

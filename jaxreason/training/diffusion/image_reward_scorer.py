"""ImageReward (Xu et al. 2023) as a scorer for `jaxreason.rewards.image_text`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.models.blip import ImageReward
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.paths import as_path
from jaxreason.rewards.image_text import Scorer
from jaxreason.types import Params
from jaxreason.weights.image_reward import import_image_reward

ADDED = ("[DEC]", "[ENC]")
"""Tokens that BLIP adds to BERT's vocabulary, with the ids 30522 and 30523 there."""


class Texts(NamedTuple):
    """Texts as the model reads them.

    Attributes:
        tokens: int32 [B, T].
        mask: bool [B, T], False for padding.
    """

    tokens: np.ndarray
    mask: np.ndarray


TokenizeTexts = Callable[[Sequence[str]], Texts]


def image_reward_scorer(
    model: ImageReward, params: Params, tokenize: TokenizeTexts, batch_size: int = 16
) -> Scorer:
    """The published reward of pictures for texts.

    Pictures go through the model `batch_size` at a time, the last ones filled up, so that one
    program is compiled.

    Args:
        model: ImageReward.
        params: its parameters.
        tokenize: texts to ids of this model.
        batch_size: pictures at a time.

    Raises:
        InputError: a batch size below 1; from the scorer, ids or pictures that do not fit.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected at least 1")
    run = jax.jit(model.score)
    size, vocabulary = model.config.image_size, model.config.vocabulary_size

    def score(texts: Sequence[str], pictures: np.ndarray) -> np.ndarray:
        tokens, mask = tokenize(texts)
        wrong = (tokens < 0) | (tokens >= vocabulary)
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            raise InputError(
                f"text {row} has id {tokens[wrong][0]}; expected 0 to {vocabulary - 1}: the "
                "tokenizer is of another model"
            )
        scores = [np.zeros(0, np.float32)]
        for start in range(0, len(texts), batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), len(texts) - 1)
            pixels = clip_pixels([pictures[row] for row in rows], size, round_middle=True)
            scores.append(np.asarray(run(params, tokens[rows], mask[rows], pixels)))
        return np.concatenate(scores)[: len(texts)]

    return score


def load_image_reward_scorer(folder: str | Path, batch_size: int = 16) -> Scorer:
    """A scorer from a folder.

    Args:
        folder: holds the weights as safetensors, with the names of the published ImageReward.pt
            (see `import_image_reward` for how to convert it), tokenizer.json of bert-base-uncased,
            and the published med_config.json if the shape is not the published one.
        batch_size: see `image_reward_scorer`.

    Raises:
        InputError: no such folder, weights that do not fit, or the `tokenizers` package is not
            installed.
        FailureError: a file is missing or damaged.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise InputError(
            f"the reward model is absent: {folder} is no folder; expected one with the safetensors "
            "file of ImageReward and tokenizer.json of bert-base-uncased"
        )
    config, params = import_image_reward(folder, dtype="float32")
    tokenize = bert_tokenize(folder / "tokenizer.json", config.text_length)
    return image_reward_scorer(ImageReward(config), params, tokenize, batch_size)


def bert_tokenize(path: Path, length: int) -> TokenizeTexts:
    """Texts as ImageReward reads them: `[CLS] words [SEP]`, cut and filled up to `length`.

    `[DEC]` and `[ENC]` become tokens, as BLIP adds them, where the file lacks them.

    Raises:
        InputError: the `tokenizers` package is not installed, or the file is no BERT's.
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
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]", "[PAD]")}
    for name, number in ids.items():
        if number is None:
            raise InputError(f"{path} has no token {name}; expected BERT's tokenizer.json")
    tokenizer.add_special_tokens(list(ADDED))
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=ids["[PAD]"], pad_token="[PAD]")

    def tokenize(texts: Sequence[str]) -> Texts:
        encoded = tokenizer.encode_batch(list(texts))
        tokens = np.array([one.ids for one in encoded], np.int32).reshape(-1, length)
        mask = np.array([one.attention_mask for one in encoded], bool).reshape(-1, length)
        if len(tokens) and not (tokens[:, 0] == ids["[CLS]"]).all():
            raise InputError(f"{path} puts no [CLS] before a text; expected BERT's tokenizer.json")
        return Texts(tokens, mask)

    return tokenize

"""Text from imported LLaDA and MMaDA weights: their ids and treatment of padding are the run's."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.infill import Infiller, infill
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.tokens.chat import ChatTemplate, Turn
from jaxreason.tokens.text_tokenizer import TokenizerFile
from jaxreason.training.diffusion.decoding import sampled_mode
from jaxreason.training.diffusion.imported import ImportedModel
from jaxreason.training.runs import Run
from jaxreason.types import Completions, Sampler

BOS = "<|startoftext|>"


def text_sampler(run: Run, config: TextDiffusionConfig, samples: int = 1) -> Sampler:
    """`diffusion_text` for an imported run: mask, end tokens and mask mode are those of the run.

    Args:
        run: of `load_run`.
        config: how to decode; its `mask_mode` is replaced.
        samples: completions per prompt.

    Raises:
        InputError: another kind of run, or settings that do not go with the model.

    Example:
        `run = load_run("llada")` and `text_sampler(run, TextDiffusionConfig(128, block=32))(
        run.params, {"tokens": ids[None], "lengths": np.array([len(ids)])}, jax.random.key(0))`.
    """
    known = _known(run)
    return diffusion_text(
        run.model,
        _as_trained(known, config),
        mask_id=known.mask,
        eos=known.eos,
        eot=known.eot,
        pad=known.eos,
        samples=samples,
    )


def text_infiller(run: Run, config: TextDiffusionConfig) -> Infiller:
    """`infill` for an imported run, which writes neither end tokens nor image ids into a gap.

    Arguments and errors as for `text_sampler`.
    """
    known = _known(run)
    banned = [i for i in (known.eos, known.eot) if i is not None]
    if known.image_offset is not None:
        banned += range(known.image_offset, known.image_offset + known.image_codes)
    config = _as_trained(known, config)
    return infill(run.model, config, mask_id=known.mask, banned=banned)


def prompt_ids(prompt: str, tokenizer: TokenizerFile | None, chat: bool = True) -> np.ndarray:
    """A prompt as ids, int32 [n].

    Args:
        prompt: text; without a tokenizer ids, separated by spaces.
        tokenizer: of the model; None if the prompt is ids.
        chat: the text is a user's turn, to be answered; else it is gone on with.

    Raises:
        InputError: ids that are no numbers, an empty prompt, a tokenizer without the start token.
    """
    if tokenizer is None:
        words = prompt.split()
        if not words or not all(word.isdecimal() for word in words):
            raise InputError(
                f"prompt is {prompt!r}; without a tokenizer it must be ids, such as '12 5 7'"
            )
        return np.array([int(word) for word in words], np.int64)
    text = ChatTemplate().render([Turn("user", prompt)], prompt=True) if chat else prompt
    return np.array([tokenizer.id(BOS), *tokenizer.encode(text)], np.int32)


def answer(
    run: Run,
    prompt: np.ndarray,
    config: TextDiffusionConfig,
    key: Any,
) -> np.ndarray:
    """The ids, int32 [n], that follow one prompt, its end tokens left out.

    Args:
        run: of `load_run`.
        prompt: int [n].
        config: how to decode.
        key: of the sampling.
    """
    known = _known(run)
    prompts: Any = {"tokens": prompt[None], "lengths": np.array([len(prompt)], np.int32)}
    found: Completions = jax.device_get(text_sampler(run, config)(run.params, prompts, key))
    ids = np.asarray(found.tokens[0, : int(found.lengths[0])])
    return ids[~np.isin(ids, [i for i in (known.eos, known.eot) if i is not None])]


def _known(run: Run) -> ImportedModel:
    if not isinstance(run.experiment, ImportedModel):
        raise InputError(
            f"the run was trained on {run.experiment.words()}; expected imported weights "
            "(`jaxreason convert`)"
        )
    return run.experiment


def _as_trained(known: ImportedModel, config: TextDiffusionConfig) -> TextDiffusionConfig:
    mode: Any = sampled_mode(known.mask_mode)
    return replace(config, mask_mode=mode)

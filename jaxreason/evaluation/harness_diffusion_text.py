"""Texts of masked-diffusion models, as the harness asks for them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.evaluation.field_kinds import check_kinds, check_range
from jaxreason.evaluation.harness_batches import batches
from jaxreason.evaluation.harness_generation import Decode
from jaxreason.evaluation.harness_text import GenerationSettings
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.config import CacheKind, Remasking, TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.judging import ambient
from jaxreason.types import Params


@dataclass(frozen=True)
class DiffusionSettings:
    """How a diffusion model is asked.

    Attributes:
        draws: masks per continuation; LLaDA's evaluations use 128.
        check_greedy: whether it is found out if decoding would give the continuation, one token
            per step; costs as many calls as it has tokens. Without, no continuation counts as
            greedy, and metrics that ask for it are 0.
        block: tokens of an answer that are decoded together; answers are made longer to hold
            whole blocks.
        tokens_per_step: tokens revealed by a step; must divide the block.
        remasking: see `TextDiffusionConfig`, as the next three.
        guidance: see there.
        threshold: see there.
        cache: see there.

    Raises:
        InputError: a value of another kind, or out of range.
    """

    draws: int = 128
    check_greedy: bool = True
    block: int = 32
    tokens_per_step: int = 1
    remasking: Remasking = "low_confidence"
    guidance: float = 0.0
    threshold: float | None = None
    cache: CacheKind = "none"

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("draws", "block", "tokens_per_step"):
            check_range(name, getattr(self, name), 1)
        if self.block % self.tokens_per_step:
            raise InputError(
                f"tokens_per_step is {self.tokens_per_step}, which does not divide block "
                f"({self.block})"
            )
        self.text(self.block)

    def text(self, tokens: int, temperature: float = 0.0) -> TextDiffusionConfig:
        """How an answer of at least so many tokens is decoded."""
        length = -(-tokens // self.block) * self.block
        return TextDiffusionConfig(
            length,
            self.block,
            length // self.tokens_per_step,
            temperature,
            self.remasking,
            self.guidance,
            self.threshold,
            self.cache,
        )


@functools.lru_cache(maxsize=16)
def _sampler(
    model: Transformer,
    config: TextDiffusionConfig,
    mask_id: int,
    eos: int,
    eot: int | None,
) -> Any:
    return diffusion_text(model, config, mask_id=mask_id, eos=eos, eot=eot, pad=eos)


def continue_by_diffusion(
    model: Transformer,
    params: Params,
    prompts: Sequence[Sequence[int]],
    settings: GenerationSettings,
    diffusion: DiffusionSettings,
    *,
    mask_id: int,
    eos: int,
    eot: int | None,
    decode: Decode,
    batch_size: int,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[str]:
    """The text that follows each prompt, up to an end token or the first of the stop texts.

    Padding of prompts is hidden from the model, so that a row does not depend on its batch.

    Args:
        model: a bidirectional transformer.
        params: its parameters.
        prompts: ids, each at least one.
        settings: the limit, temperature, stop texts and seed; the same for all.
        diffusion: how to decode.
        mask_id: the token that stands for a masked one.
        eos: id that ends a text.
        eot: id that ends a turn, None if there is none.
        decode: ids to text, special tokens left out.
        batch_size: rows of a batch.
        seed: where the settings have none.
        mesh: of the parameters.

    Raises:
        InputError: top_p or top_k, which diffusion sampling does not have.
    """
    if settings.top_p is not None or settings.top_k is not None:
        raise InputError(
            f"top_p is {settings.top_p} and top_k {settings.top_k}; diffusion sampling has neither"
        )
    config = diffusion.text(settings.new_tokens, settings.temperature)
    sampler = _sampler(model, config, mask_id, eos, eot)
    key = jax.random.key(seed if settings.seed is None else settings.seed)
    texts = [""] * len(prompts)
    for number, rows in enumerate(batches(prompts, batch_size)):
        placed = place_everywhere({"tokens": rows.tokens, "lengths": rows.lengths}, mesh)
        with ambient(mesh):
            answers = to_host(sampler(params, placed, jax.random.fold_in(key, number)))
        for row, place in enumerate(rows.places):
            ids = answers.tokens[row, : int(answers.lengths[row])][: settings.new_tokens]
            kept = ids[~np.isin(ids, [i for i in (eos, eot) if i is not None])]
            texts[place] = settings.answer(decode(kept.tolist()))
    return texts

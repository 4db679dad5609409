"""Texts that go on with other texts, under a next-token model."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.evaluation.harness_batches import Rows, batches
from jaxreason.evaluation.harness_text import GenerationSettings
from jaxreason.models import Transformer
from jaxreason.sampling.segments import Advance, Begin, segmented
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.judging import ambient
from jaxreason.types import Params

Decode = Callable[[Sequence[int]], str]


def continue_texts(
    model: Transformer,
    params: Params,
    prompts: Sequence[Sequence[int]],
    settings: GenerationSettings,
    *,
    stops: Sequence[int],
    decode: Decode,
    batch_size: int,
    seed: int = 0,
    mesh: Mesh | None = None,
) -> list[str]:
    """The text that follows each prompt, up to a stop id or the first of the settings' stop texts.

    The result depends on the prompts, their order and the seed, not on the batches.

    Args:
        model: a causal transformer.
        params: its parameters.
        prompts: ids, each at least one.
        settings: the same for all.
        stops: ids that end a text.
        decode: ids to text, special tokens left out.
        batch_size: rows of a batch; on a mesh a multiple of the devices that rows are split over.
        seed: where the settings have none.
        mesh: of the parameters.
    """
    program = replace(settings, until=(), seed=None, after=None)
    begin, advance = _programs(model, program, tuple(stops))
    key = jax.random.key(seed if settings.seed is None else settings.seed)
    texts = [""] * len(prompts)
    for rows in batches(prompts, batch_size):
        found = _batch(begin, advance, params, rows, settings, stops, decode, key, mesh)
        for place, text in zip(rows.places, found, strict=True):
            texts[place] = text
    return texts


@functools.lru_cache(maxsize=16)
def _programs(
    model: Transformer, settings: GenerationSettings, stops: tuple[int, ...]
) -> tuple[Begin, Advance]:
    return segmented(
        model,
        max_new_tokens=settings.new_tokens,
        stops=stops,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
    )


def _batch(
    begin: Begin,
    advance: Advance,
    params: Params,
    rows: Rows,
    settings: GenerationSettings,
    stops: Sequence[int],
    decode: Decode,
    key: jax.Array,
    mesh: Mesh | None,
) -> list[str]:
    real = len(rows.places)
    ids = np.array([*rows.places, *[rows.places[-1]] * (len(rows.lengths) - real)], np.int32)
    prompts = {"tokens": rows.tokens, "lengths": rows.lengths, "ids": ids}
    with ambient(mesh):
        state = begin(params, place_everywhere(prompts, mesh), key)
        while True:
            step, tokens, done = to_host((state.step, state.tokens, state.done))
            texts = [decode(_up_to(row[: int(step)], stops)) for row in tokens[:real]]
            met = np.ones(len(done), bool)  # rows that only fill the batch need nothing
            met[:real] = [settings.complete(text) for text in texts]
            if int(step) >= settings.new_tokens or (done | met).all():
                return [settings.answer(text) for text in texts]
            state = state._replace(done=place_everywhere(done | met, mesh))
            state = advance(params, state, key)


def _up_to(ids: np.ndarray, stops: Sequence[int]) -> list[int]:
    """The ids before the first stop."""
    ends = np.flatnonzero(np.isin(ids, stops))
    return ids[: ends[0] if ends.size else len(ids)].tolist()

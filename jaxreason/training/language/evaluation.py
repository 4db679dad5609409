"""Losses on held-out records, and answers to their prompts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.language import ChatRecord, LabelledRecord, PreferenceRecord
from jaxreason.models import Transformer
from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.judging import ambient, draw
from jaxreason.training.language.completions import CompletionFiles, completion_texts
from jaxreason.training.prompt_rows import padded
from jaxreason.types import Objective, Params

Evaluation = Callable[[Params, int], Mapping[str, float]]


def held_out_loss(
    objective: Objective, batches: Callable[[], Iterable[Any]], mesh: Mesh | None
) -> Evaluation:
    """`(params, step) -> numbers`: `held_out_*` for each metric of an objective, as means.

    `held_out_perplexity` is of `held_out_loss` where the objective is a cross-entropy (has an
    `accuracy` and no `margin`).

    Args:
        objective: what is measured.
        batches: makes them all, global numpy rows, the same on every process; called once.
        mesh: devices the rows are split over; None for one.
    """

    @jax.jit
    def measure(params: Params, batch: Any) -> Any:
        return objective(params, batch, jax.random.key(0))[1]

    kept: list[Any] = []

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        if not kept:
            kept.extend(batches())
        totals: dict[str, np.ndarray] = {}
        for batch in kept:
            with ambient(mesh):
                measured = to_host(measure(params, place_everywhere(batch, mesh)))
            for name, pair in measured.items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair)
        return {
            f"held_out_{name}": float(total / max(count, 1.0))
            for name, (total, count) in totals.items()
        }

    return evaluate


def with_perplexity(evaluate: Evaluation) -> Evaluation:
    """Adds `held_out_perplexity`, the exponential of `held_out_loss`."""

    def both(params: Params, step: int) -> Mapping[str, float]:
        numbers = evaluate(params, step)
        return {**numbers, "held_out_perplexity": math.exp(min(numbers["held_out_loss"], 700.0))}

    return both


def with_answers(
    evaluate: Evaluation,
    model: Transformer,
    tokenizer: PretrainedTokenizer,
    prompts: Sequence[np.ndarray],
    max_new_tokens: int,
    mesh: Mesh | None,
    files: CompletionFiles,
    template: str,
) -> Evaluation:
    """Besides, answers prompts greedily and has them written as text.

    Args:
        evaluate: called first.
        model: a causal transformer.
        tokenizer: of the model.
        prompts: int32 [n] each.
        max_new_tokens: limit of an answer.
        mesh: devices; None for one.
        files: where the answers go.
        template: that of the prompts, "chat" or "plain"; decides which ids end an answer.
    """
    if not prompts:
        return evaluate
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    rows = [*prompts, *[prompts[-1]] * (-len(prompts) % ways)]
    lengths = np.array([len(row) for row in rows], np.int32)
    tokens = np.full((len(rows), padded(int(lengths.max()))), tokenizer.pad, np.int32)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    sampler = autoregressive(
        model,
        max_new_tokens=max_new_tokens,
        eos=tokenizer.stops_for(template),
        pad=tokenizer.pad,
        temperature=0,
    )
    asked = [tokenizer.decode(prompt, skip_special=False) for prompt in prompts]

    def both(params: Params, step: int) -> Mapping[str, float]:
        numbers = evaluate(params, step)
        given = {"tokens": tokens, "lengths": lengths}
        completions = draw(sampler, params, given, jax.random.key(0), mesh)
        texts = completion_texts(completions, tokenizer)[: len(prompts)]
        files.plain(step, asked, texts, "held-out prompts, greedy")
        return numbers

    return both


def prompt_messages(record: Any) -> tuple[Any, ...]:
    """What precedes the answer that a record shows; nothing for a text without turns."""
    if isinstance(record, PreferenceRecord | LabelledRecord):
        return record.prompt
    if isinstance(record, ChatRecord):
        places = [i for i, turn in enumerate(record.messages) if turn["role"] == "assistant"]
        return record.messages[: places[-1]]
    return ()


def prompts_of(
    records: Sequence[Any], count: int, tokenizer: PretrainedTokenizer, template: str, limit: int
) -> list[np.ndarray]:
    """The prompts of the first records that have one of at most `limit` tokens, at most `count`."""
    found: list[np.ndarray] = []
    for record in records:
        if len(found) == count:
            break
        messages = prompt_messages(record)
        if messages:
            ids = _encoded(messages, tokenizer, template, record.where)
            if 0 < len(ids) <= limit:
                found.append(ids)
    return found


def _encoded(
    messages: tuple[Any, ...], tokenizer: PretrainedTokenizer, template: str, where: str
) -> np.ndarray:
    from jaxreason.data.language.encoding import encode_prompt

    return encode_prompt(messages, tokenizer, template, where)

"""LLaDA's sampler as its paper tells it: one row, Python loops, float64, no padding, no cache."""

import jax
import numpy as np

from jaxreason.models import AttentionSpec


def logits_function(model, params, kind="bidirectional", block=0):
    """`tokens -> logits [T, V]` in float64; compiled once per length."""
    apply = jax.jit(
        lambda tokens: model.unembed(
            params, model.apply(params, tokens, None, AttentionSpec(kind, block))[0]
        )[0]
    )
    return lambda tokens: np.asarray(apply(np.asarray(tokens, np.int32)[None]), np.float64)


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def counts(masked, steps):
    return [masked // steps + (i < masked % steps) for i in range(steps)]


def slow_decode(
    logits_of,
    prompt,
    mask,
    length,
    block,
    steps=None,
    guidance=0.0,
    threshold=None,
    banned=(),
    deferred=(),
    aligned=False,
):
    """Greedy decoding.

    Returns:
        tokens, log-probabilities and order of what was generated, and the number of steps.
    """
    tokens = np.asarray([*prompt, *[mask] * length])
    given = np.arange(len(tokens)) < len(prompt)
    order, kept = np.full(len(tokens), -1), np.zeros(len(tokens))
    per_block = block if steps is None else steps // (length // block)
    step = 0
    edges = np.arange(0 if aligned else len(prompt), len(tokens), block)
    for first in edges:
        places = np.arange(first, min(first + block, len(tokens)))
        plan = counts(int((tokens[places] == mask).sum()), per_block)
        for count in plan:
            open_places = places[tokens[places] == mask]
            if not len(open_places):
                break
            logits = logits_of(tokens)
            if guidance:
                without = logits_of(np.where(given, mask, tokens))
                logits = without + (guidance + 1) * (logits - without)
            logits = logits[open_places]
            logits[:, list(banned)] = -np.inf
            log_p = log_softmax(logits)
            best = log_p.argmax(axis=-1)
            confidence = log_p.copy()
            if deferred:
                logits[:, list(deferred)] = -np.inf
                confidence = log_softmax(logits)
            confidence = confidence[np.arange(len(best)), best]
            chosen = set(np.argsort(-confidence, kind="stable")[:count].tolist())
            if threshold is not None:
                chosen |= set(np.flatnonzero(np.exp(confidence) >= threshold).tolist())
            for i in chosen:
                place = open_places[i]
                tokens[place], order[place] = best[i], step
                kept[place] = log_p[i, best[i]]
            step += 1
    return tokens[len(prompt) :], kept[len(prompt) :], order[len(prompt) :], step

"""From problems to completions: few static shapes, full batches, an order of its own."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes import Problem
from jaxreason.types import Batch, Params, Sampler


class Generated(NamedTuple):
    """Completions of problems, `samples` of each next to each other.

    Attributes:
        words: the words of each completion, end token and padding left out.
        tokens: int64 [completions], length with the end token.
        finished: bool [completions], False if cut by the limit.
    """

    words: list[list[str]]
    tokens: np.ndarray
    finished: np.ndarray


class PromptBatch(NamedTuple):
    """Prompts of one shape.

    Attributes:
        tokens: int32 [batch, length], right-padded.
        lengths: int32 [batch].
        places: int64 [real], which problems the first rows are; rows beyond repeat the last one.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    places: np.ndarray


def bucket_edges(lengths: np.ndarray, buckets: int) -> np.ndarray:
    """The least bucket edge that holds each length: evenly spaced, multiples of 16."""
    step = 16 * -(-int(lengths.max()) // (16 * buckets))
    return step * -(-lengths // step)


def prompt_batches(
    vocabulary: Any, problems: Sequence[Problem], batch_size: int, buckets: int = 3
) -> Iterator[PromptBatch]:
    """Batches of prompts in at most `buckets` shapes.

    Within a bucket problems are ordered by length and then by content, so that batches are the
    same whatever the order of `problems`.

    Args:
        vocabulary: gives `encode_prompt(problem)` and `pad`.
        problems: any generators, any lengths.
        batch_size: rows of every batch.
        buckets: prompt lengths to compile for, at most.
    """
    if batch_size < 1 or buckets < 1:
        raise InputError(f"batch_size {batch_size} and buckets {buckets} must be at least 1")
    if not problems:
        return
    prompts = [vocabulary.encode_prompt(problem) for problem in problems]
    lengths = np.array([prompt.size for prompt in prompts])
    edges = bucket_edges(lengths, buckets)
    digests = [problem.digest() for problem in problems]
    order = sorted(range(len(problems)), key=lambda i: (edges[i], lengths[i], digests[i]))
    for edge in np.unique(edges).tolist():
        members = [i for i in order if edges[i] == edge]
        for first in range(0, len(members), batch_size):
            places = np.array(members[first : first + batch_size])
            rows = np.pad(places, (0, batch_size - places.size), mode="edge")
            tokens = np.full((batch_size, edge), vocabulary.pad, np.int32)
            for row, place in enumerate(rows.tolist()):
                tokens[row, : lengths[place]] = prompts[place]
            yield PromptBatch(tokens, lengths[rows].astype(np.int32), places)


def generate(
    sampler: Sampler,
    params: Params,
    vocabulary: Any,
    problems: Sequence[Problem],
    *,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    buckets: int = 3,
    on_batch: Callable[[int], None] | None = None,
) -> Generated:
    """Samples `samples` completions of every problem.

    The result depends on the set of problems and the seed, not on their order. Two equal problems
    are two problems.

    Args:
        sampler: returns `samples` rows per prompt, next to each other.
        params: of the sampler's model.
        vocabulary: `encode_prompt`, `decode_words`, `pad`, `eos`.
        problems: what to solve.
        samples: completions per problem; must be what the sampler was built with.
        seed: of the sampling; batch b uses the key folded with b.
        batch_size: prompts per call.
        buckets: prompt lengths to compile for, at most.
        on_batch: called with the number of problems done after each batch.
    """
    words: list[list[str]] = [[] for _ in range(len(problems) * samples)]
    tokens = np.zeros(len(words), np.int64)
    finished = np.zeros(len(words), bool)
    key = jax.random.key(seed)
    batches = prompt_batches(vocabulary, problems, min(batch_size, len(problems) or 1), buckets)
    for number, batch in enumerate(batches):
        prompts: Batch = {
            "tokens": jnp.asarray(batch.tokens),
            "lengths": jnp.asarray(batch.lengths),
        }
        completions = jax.device_get(sampler(params, prompts, jax.random.fold_in(key, number)))
        if len(completions.lengths) != samples * len(batch.lengths):
            raise InputError(
                f"the sampler returned {len(completions.lengths)} rows for "
                f"{len(batch.lengths)} prompts; samples={samples} needs {samples} of each"
            )
        for row, place in enumerate(batch.places.tolist()):
            for sample in range(samples):
                source, target = row * samples + sample, place * samples + sample
                length = int(completions.lengths[source])
                finished[target] = completions.finished[source]
                tokens[target] = length
                kept = completions.tokens[source, : length - int(finished[target])]
                words[target] = vocabulary.decode_words(kept)
        if on_batch is not None:
            on_batch(batch.places.size)
    return Generated(words, tokens, finished)

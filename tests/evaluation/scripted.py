"""A sampler that answers from a book: what it says is known exactly."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxreason.mazes import Problem, Trace
from jaxreason.tokens import MazeVocabulary
from jaxreason.types import Completions

Answer = Callable[[Problem, Trace, int], np.ndarray]
"""(problem, true trace, sample number) to token ids, the end token included."""


def scripted(
    vocabulary: MazeVocabulary,
    problems: Mapping[str, Sequence[tuple[Problem, Trace]]],
    answer: Answer,
) -> Callable:
    """A factory of samplers as `evaluate` takes it; cuts answers at the limit."""
    book = {
        vocabulary.encode_prompt(problem).tobytes(): (problem, trace)
        for group in problems.values()
        for problem, trace in group
    }

    def make(temperature: float, samples: int, limit: int) -> Callable:
        del temperature

        def sample(params, prompts, key) -> Completions:
            del params, key
            rows = []
            tokens, lengths = np.asarray(prompts["tokens"]), np.asarray(prompts["lengths"])
            for row, length in zip(tokens, lengths, strict=True):
                problem, trace = book[row[:length].tobytes()]
                rows += [answer(problem, trace, number) for number in range(samples)]
            out = np.full((len(rows), limit), vocabulary.pad, np.int32)
            for place, row in enumerate(rows):
                out[place, : len(row)] = row[:limit]
            cut = np.array([min(len(row), limit) for row in rows], np.int32)
            finished = np.array([len(row) <= limit for row in rows])
            return Completions(out, np.zeros(out.shape, np.float32), cut, finished)

        return sample

    return make

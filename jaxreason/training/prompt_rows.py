"""Prompts and completions as padded rows, of few different widths so that few programs compile."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.rewards import RewardFunction
from jaxreason.types import Completions

LENGTH_STEP = 32
"""Rows are padded to multiples of this, so that few programs are compiled."""

Widths = Callable[[int], int]
"""Tokens of the longest row to the width that all rows are padded to."""


def padded(tokens: int) -> int:
    """The next multiple of `LENGTH_STEP`."""
    return LENGTH_STEP * -(-tokens // LENGTH_STEP)


class Buckets:
    """A few widths up to a limit, for rows of any length: each is a program to compile.

    Args:
        limits: longest rows of each kind, such as prompts, and prompts with completions.
        parts: widths per kind: that part of the limit, twice it, and so on, each a multiple of
            `LENGTH_STEP`.
    """

    def __init__(self, limits: Sequence[int], parts: int = 4) -> None:
        every = {
            padded(-(-limit * part // parts)) for limit in limits for part in range(1, parts + 1)
        }
        self.widths = tuple(sorted(every))

    def __call__(self, tokens: int) -> int:
        """The smallest width that holds so many tokens; beyond all of them a multiple."""
        return next((width for width in self.widths if width >= tokens), padded(tokens))


class Task(NamedTuple):
    """What a policy is asked, and who judges its answers.

    Attributes:
        source: training problems: `problem(i)`, and a `vocabulary` with `encode_prompt`, `pad` and
            `eos` (one id that ends an answer, or several).
        held_out: the same of problems that are not trained on.
        reward: the verifier.
        widths: to what rows are padded.
        identity: what says which problems they are, as plain JSON; None where the run's config
            says it.
    """

    source: Any
    held_out: Any
    reward: RewardFunction
    widths: Widths = padded
    identity: Any = None


def encode_prompts(
    vocabulary: Any, problems: Sequence[Any], widths: Widths = padded
) -> dict[str, np.ndarray]:
    """Prompts `{tokens [B, T], lengths [B]}` int32, right-padded as `widths` says."""
    prompts = [vocabulary.encode_prompt(problem) for problem in problems]
    lengths = np.array([prompt.size for prompt in prompts], np.int32)
    width = widths(int(lengths.max()))
    tokens = np.full((len(prompts), width), vocabulary.pad, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : prompt.size] = prompt
    return {"tokens": tokens, "lengths": lengths}


def join(
    prompts: Mapping[str, np.ndarray],
    completions: Completions,
    group: int,
    pad: int,
    widths: Widths = padded,
) -> dict[str, np.ndarray]:
    """Each prompt with its completions as rows of one batch, the completions as targets."""
    prompt_lengths = np.repeat(np.asarray(prompts["lengths"]), group)
    lengths = np.asarray(completions.lengths)
    rows, widest = len(lengths), int((prompt_lengths + lengths).max())
    width = widths(widest)
    column = np.arange(width)
    ends = (prompt_lengths + lengths)[:, None]
    in_completion = (column >= prompt_lengths[:, None]) & (column < ends)
    tokens = np.full((rows, width), pad, np.int32)
    repeated = np.repeat(prompts["tokens"], group, axis=0)
    in_prompt = column < prompt_lengths[:, None]
    held = min(width, repeated.shape[1])
    tokens[:, :held] = np.where(in_prompt[:, :held], repeated[:, :held], pad)
    drawn = np.asarray(completions.tokens)
    source = np.clip(column - prompt_lengths[:, None], 0, drawn.shape[1] - 1)
    tokens = np.where(in_completion, np.take_along_axis(drawn, source, axis=1), tokens)
    real = column < ends
    return {
        "tokens": tokens,
        "targets_mask": in_completion,
        "segments": real.astype(np.int32),
        "positions": np.where(real, column, 0).astype(np.int32),
    }

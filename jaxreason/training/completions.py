"""Judged completions of a frozen model, and which of them training is to see.

Choices of completions are seeded per problem, so they do not depend on how problems are batched.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.data.orders import epoch_order
from jaxreason.errors import InputError
from jaxreason.training.rollouts import LENGTH_STEP, Rollout
from jaxreason.types import Params

RIGHT_ABOVE = 0.5
"""A completion is right if its reward is above this."""


@dataclass(frozen=True)
class SamplingConfig:
    """Which completions of the base model are drawn.

    Attributes:
        problems: number of training problems.
        samples: completions of each.
        temperature: of the sampling.
        top_k: sample among the k most likely tokens only; 0 for all.
        top_p: sample from the smallest set of tokens with at least this probability.
        max_new_tokens: limit of a completion, its end token included; 0 takes the longest solution
            of the problems in the data.
        batch: prompts per call of the sampler, at most.
        seed: of the sampling and of every choice among samples.

    Raises:
        InputError: a number out of range.
    """

    problems: int = 1000
    samples: int = 8
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_new_tokens: int = 0
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"problems": 2, "samples": 1, "batch": 1, "top_k": 0, "max_new_tokens": 0}
        for name, minimum in {**least, "seed": 0}.items():
            if getattr(self, name) < minimum:
                raise InputError(
                    f"sampling.{name} is {getattr(self, name)}; it must be at least {minimum}"
                )
        if not (self.temperature > 0 and np.isfinite(self.temperature)):
            raise InputError(
                f"sampling.temperature is {self.temperature}; it must be above 0, or all samples "
                "of a problem are equal"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"sampling.top_p is {self.top_p}; it must lie in (0, 1]")


class Completed(NamedTuple):
    """One prompt with one completion.

    Attributes:
        tokens: int32 [n], from the first token of the prompt to the last of the completion.
        prompt_length: tokens of the prompt.
        right: the verifier accepts it.
    """

    tokens: np.ndarray
    prompt_length: int
    right: bool


Draw = Callable[[Params, np.ndarray, jax.Array], Rollout]
"""`(params, problem indices [batch], key) -> Rollout`, such as `RolloutSource.draw`."""


def draw_completions(
    draw: Draw, params: Params, config: SamplingConfig, batch: int
) -> list[list[Completed]]:
    """`config.samples` judged completions of each of the problems 0, 1, ...

    Args:
        draw: samples and judges.
        params: of the model sampled from.
        config: how many problems and samples.
        batch: problems per call.

    Returns:
        One list per problem, in the order drawn.
    """
    key = jax.random.key(config.seed)
    found: list[list[Completed]] = []
    for number, first in enumerate(range(0, config.problems, batch)):
        # The last call is filled up with the last problem, so that one program serves all.
        indices = np.minimum(np.arange(first, first + batch), config.problems - 1)
        rollout = draw(params, indices, jax.random.fold_in(key, number))
        rows = list(_completed(rollout))
        for place in range(min(batch, config.problems - first)):
            found.append(rows[place * config.samples : (place + 1) * config.samples])
    return found


def _completed(rollout: Rollout) -> Iterator[Completed]:
    lengths = np.count_nonzero(rollout.batch["segments"], axis=1)
    prompts = lengths - np.count_nonzero(rollout.batch["targets_mask"], axis=1)
    right = np.asarray(rollout.reward.values) > RIGHT_ABOVE
    for row, tokens in enumerate(rollout.batch["tokens"]):
        yield Completed(tokens[: lengths[row]].copy(), int(prompts[row]), bool(right[row]))


def pack(samples: Sequence[Sequence[Completed]]) -> dict[str, np.ndarray]:
    """Completions by problem as a few flat arrays, for a file."""
    flat = [one for drawn in samples for one in drawn]
    return {
        "tokens": np.concatenate([one.tokens for one in flat]),
        "lengths": np.array([one.tokens.size for one in flat]),
        "prompt_lengths": np.array([one.prompt_length for one in flat]),
        "right": np.array([one.right for one in flat]),
        "problems": np.array([len(drawn) for drawn in samples]),
    }


def unpack(arrays: Mapping[str, np.ndarray]) -> list[list[Completed]]:
    """The inverse of `pack`."""
    tokens = np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])
    prompts, right = arrays["prompt_lengths"].tolist(), arrays["right"].tolist()
    flat = [Completed(*fields) for fields in zip(tokens, prompts, right, strict=True)]
    ends = np.cumsum(arrays["problems"]).tolist()
    return [flat[end - n : end] for end, n in zip(ends, arrays["problems"].tolist(), strict=True)]


def solutions(source: Any, count: int) -> list[Completed]:
    """The completions that the data show for the first problems."""
    examples = (source[index] for index in range(count))
    return [
        Completed(np.asarray(e["tokens"], np.int32), int(e["prompt_length"]), True)
        for e in examples
    ]


def distinct(completions: Sequence[Completed]) -> list[Completed]:
    """The first of each set of equal completions of one problem."""
    return list({one.tokens.tobytes(): one for one in reversed(completions)}.values())[::-1]


def _shuffled(completions: Sequence[Completed], seed: int, problem: int) -> list[Completed]:
    order = epoch_order(len(completions), seed, problem)
    return [completions[place] for place in order]


def on_policy_pairs(
    samples: Sequence[Sequence[Completed]], per_problem: int, seed: int
) -> list[tuple[Completed, Completed]]:
    """(right, wrong) samples of the same problem, each distinct sample in one pair at most."""
    pairs: list[tuple[Completed, Completed]] = []
    for problem, drawn in enumerate(samples):
        different = _shuffled(distinct(drawn), seed, problem)
        right = [one for one in different if one.right]
        wrong = [one for one in different if not one.right]
        pairs += list(zip(right, wrong, strict=False))[:per_problem]
    return pairs


def off_policy_pairs(
    samples: Sequence[Sequence[Completed]],
    shown: Sequence[Completed],
    per_problem: int,
    seed: int,
) -> list[tuple[Completed, Completed]]:
    """(the data's solution, a wrong sample) of the same problem."""
    pairs: list[tuple[Completed, Completed]] = []
    for problem, drawn in enumerate(samples):
        wrong = [one for one in _shuffled(distinct(drawn), seed, problem) if not one.right]
        pairs += [(shown[problem], one) for one in wrong[:per_problem]]
    return pairs


def mismatched_pairs(
    samples: Sequence[Sequence[Completed]], seed: int
) -> list[tuple[Completed, Completed]]:
    """Every distinct sample, with the same prompt completed as another problem was."""
    order = epoch_order(len(samples), seed, 0)
    kept = [distinct(samples[problem]) for problem in order]
    flat = [one for drawn in kept for one in drawn]
    # Problems lie together, so a shift by the largest of them leaves every problem.
    shift = max(len(drawn) for drawn in kept)
    if len(flat) < 2 * shift:
        raise InputError(
            f"sampling.problems is {len(samples)}: too few to pair each completion with that of "
            "another problem; sample more"
        )
    others = flat[shift:] + flat[:shift]
    return [(one, _spliced(one, other)) for one, other in zip(flat, others, strict=True)]


def _spliced(prompt: Completed, completion: Completed) -> Completed:
    parts = prompt.tokens[: prompt.prompt_length], completion.tokens[completion.prompt_length :]
    return Completed(np.concatenate(parts), prompt.prompt_length, False)


def keepers(samples: Sequence[Sequence[Completed]], keep: str, seed: int) -> list[Completed]:
    """The right samples, for supervised training on them.

    Args:
        samples: by problem.
        keep: "all" of them; the "distinct" ones (rejection-sampling fine-tuning, Yuan et al. 2023,
            arXiv:2308.01825); "one" of each problem, taken at random as all have the same reward
            (RAFT, Dong et al. 2023, arXiv:2304.06767).
        seed: of the choice.
    """
    found: list[Completed] = []
    for problem, drawn in enumerate(samples):
        right = [one for one in drawn if one.right]
        if keep == "one":
            right = _shuffled(right, seed, problem)[:1]
        found += right if keep == "all" else distinct(right)
    return found


def lay_out(rows: Sequence[Sequence[Completed]], pad: int) -> dict[str, np.ndarray]:
    """Rows of W sequences each as arrays `tokens, targets_mask, segments, positions` [rows, W, T].

    Args:
        rows: at least one, all of the same width.
        pad: token id of the padding.
    """
    flat = [one for row in rows for one in row]
    lengths = np.array([one.tokens.size for one in flat])
    prompts = np.array([one.prompt_length for one in flat])
    width = LENGTH_STEP * -(-int(lengths.max()) // LENGTH_STEP)
    tokens = np.full((len(flat), width), pad, np.int32)
    for row, one in enumerate(flat):
        tokens[row, : one.tokens.size] = one.tokens
    column = np.arange(width)
    real = column < lengths[:, None]
    arrays = {
        "tokens": tokens,
        "targets_mask": real & (column >= prompts[:, None]),
        "segments": real.astype(np.int32),
        "positions": np.where(real, column, 0).astype(np.int32),
    }
    shape = (len(rows), len(rows[0]), width)
    return {name: array.reshape(shape) for name, array in arrays.items()}

"""What stands between prompt and plan: nothing, the right trace, another's trace, part of it.

`solution_only`, `correct` and `swapped` are the regimes of Stechly et al. 2025 (arXiv 2505.13775);
`dropped` is the structured dropping of Dualformer (Su et al. 2024, arXiv 2410.09918). All work on
the event arrays of a `Trace` and leave the prompt and the plan alone.
"""

import numpy as np

from jaxreason.errors import InputError
from jaxreason.mazes.astar import CLOSE, Trace

REGIMES = ("solution_only", "correct", "swapped", "dropped")

DROPPING_LEVELS = (0, 1, 2, 3, 4)
"""0: whole trace; 1: no close clauses; 2: nor costs; 3: nor some of the creates; 4: no trace."""

MISSING_COST = -1
"""The value of g and h in an event whose cost words are not written."""


def derangement(count: int, seed: int) -> np.ndarray:
    """A seeded permutation without fixed point, uniform among all: donor of example i at place i.

    Random permutations are drawn until one has no fixed point (2.7 draws on average).

    Returns:
        int64 [count].

    Raises:
        InputError: count below 2, or a negative seed.
    """
    if count < 2:
        raise InputError(f"count is {count}: swapping traces needs at least 2 problems")
    if seed < 0:
        raise InputError(f"seed is {seed}; expected a whole number of at least 0")
    random = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, count))))
    own = np.arange(count)
    donors = random.permutation(count)
    while (donors == own).any():
        donors = random.permutation(count)
    return donors


def dropping_level(probabilities: tuple[float, ...], seed: int, index: int) -> int:
    """The level 0..4 of example `index`, drawn with the given probability of each level.

    Raises:
        InputError: probabilities that are not five shares with the sum 1.
    """
    if len(probabilities) != len(DROPPING_LEVELS) or min(probabilities) < 0:
        raise InputError(f"probabilities is {probabilities}; expected five shares, levels 0 to 4")
    if abs(sum(probabilities) - 1) > 1e-6:
        raise InputError(f"probabilities sum to {sum(probabilities)}; expected 1")
    threshold = _random(seed, index, 1).random()
    level = int(np.searchsorted(np.cumsum(probabilities), threshold, side="right"))
    # Rounding in the sum must not select a level of probability 0.
    return min(level, max(i for i, share in enumerate(probabilities) if share > 0))


def drop(
    events: np.ndarray, level: int, seed: int = 0, index: int = 0, create_share: float = 0.3
) -> np.ndarray:
    """Events int32 [events, 5] without what `level` drops.

    Args:
        events: int32 [events, 5], as in `Trace`.
        level: 0 whole trace, 1 no close clauses, 2 nor costs, 3 nor a random `create_share` of the
            create clauses, 4 no trace.
        seed: with `index`, decides which creates go.
        index: the example's place in its data set.
        create_share: in [0, 1]; 0.3 in the paper.

    Returns:
        int32 [what is left, 5]; costs that are not written are -1.

    Raises:
        InputError: unknown level or a share outside [0, 1].
    """
    if level not in DROPPING_LEVELS:
        raise InputError(f"level is {level}; expected one of 0, 1, 2, 3, 4")
    if not 0 <= create_share <= 1:
        raise InputError(f"create_share is {create_share}; expected a share in [0, 1]")
    if level == 4:
        return events[:0].copy()
    kept = events[events[:, 0] != CLOSE] if level >= 1 else events.copy()
    if level >= 2:
        kept[:, 3:] = MISSING_COST
    if level >= 3:
        kept = kept[_random(seed, index, 2).random(len(kept)) >= create_share]
    return kept


def _random(seed: int, index: int, purpose: int) -> np.random.Generator:
    if seed < 0 or index < 0:
        raise InputError(f"seed is {seed} and index {index}; expected at least 0")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index, purpose))))


def for_regime(
    regime: str,
    trace: Trace,
    donor: Trace | None = None,
    level: int = 1,
    seed: int = 0,
    index: int = 0,
) -> Trace:
    """The trace a model is trained on under `regime`: other events, always the own plan.

    Args:
        regime: one of `REGIMES`.
        trace: the problem's own.
        donor: the trace of problem `derangement(count, seed)[index]`; for "swapped".
        level: what to drop; for "dropped".
        seed: data set; for "dropped".
        index: example; for "dropped".

    Raises:
        InputError: unknown regime or level, or "swapped" without a donor.
    """
    if regime == "solution_only":
        return Trace(trace.events[:0], trace.plan)
    if regime == "correct":
        return trace
    if regime == "swapped":
        if donor is None:
            raise InputError("regime 'swapped' needs the trace of a donor problem")
        return Trace(donor.events, trace.plan)
    if regime == "dropped":
        return Trace(drop(trace.events, level, seed, index), trace.plan)
    raise InputError(f"regime {regime!r} is unknown; expected one of {', '.join(REGIMES)}")

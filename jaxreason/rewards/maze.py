"""Plan validity as reward; what the trace is worth is logged beside it."""

from collections.abc import Sequence

import numpy as np

from jaxreason.mazes import Problem
from jaxreason.mazes.validation import judge
from jaxreason.rewards.reward import Reward
from jaxreason.tokens import MazeVocabulary
from jaxreason.types import Completions


def maze_reward(
    problems: Sequence[Problem], completions: Completions, vocabulary: MazeVocabulary
) -> Reward:
    """1 if the plan is valid and the completion ended, else 0 (Stechly et al. 2025).

    The trace earns nothing. The breakdown holds the four cells of trace validity (level
    `reference`) against plan validity, `trace_valid_plan_valid` to `trace_invalid_plan_invalid`,
    which sum to 1 per completion, and `plan_valid`, `trace_valid`, `optimal`, `finished`. A
    completion without a trace has no valid trace.

    Args:
        problems: the problem of each completion.
        completions: tokens, lengths and finished, as numpy arrays.
        vocabulary: the words of the grid.
    """
    rows = len(problems)
    plan, trace, optimal = (np.zeros(rows, bool) for _ in range(3))
    finished = np.asarray(completions.finished, bool)
    tokens, lengths = np.asarray(completions.tokens), np.asarray(completions.lengths)
    for row, problem in enumerate(problems):
        kept = tokens[row, : lengths[row] - int(finished[row])]
        verdict = judge(problem, vocabulary.decode_words(kept))
        plan[row] = verdict.plan.valid
        trace[row] = verdict.has_trace and verdict.reference.valid
        optimal[row] = verdict.optimal
    cells = {
        "trace_valid_plan_valid": trace & plan,
        "trace_valid_plan_invalid": trace & ~plan,
        "trace_invalid_plan_valid": ~trace & plan,
        "trace_invalid_plan_invalid": ~trace & ~plan,
    }
    named = {"plan_valid": plan, "trace_valid": trace, "optimal": optimal, "finished": finished}
    return Reward(
        (plan & finished).astype(np.float32),
        {name: value.astype(np.float32) for name, value in (named | cells).items()},
    )

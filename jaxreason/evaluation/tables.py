"""Numbers of one generator from its verdicts.

`summarise` returns plain JSON; a *share* is `{value, standard_error, n, successes, clusters}` (see
`statistics.share`), null values where there is nothing to count:

    plan_valid, optimal, truncated, has_trace     shares of all completions
    solved_by_any                                 share of problems with a valid plan among samples
    optimal_within_valid_plans                    share of completions with a valid plan
    trace_valid                                   {reference, strict, exact}: shares of all
    trace_valid_within_valid_plans                {reference, strict, exact}: shares of valid plans
    table                                         {reference, strict, exact}: the 2x2 table, counts
                                                  {both, trace_only, plan_only, neither}
    first_errors, first_strict_errors             {code: count}, most frequent first
    plan_errors                                   {code: count}, most frequent first
    by_length                                     [{low, high, plan_valid, trace_valid,
                                                  trace_valid_within_valid_plans}], by tokens of the
                                                  true trace, low <= tokens < high, level reference
    lengths                                       {pearson, spearman, generated_mean, true_mean}

Metrics and the 2x2 table follow Stechly et al. 2025 (arXiv 2505.13775).
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.judge import LEVELS, Judged
from jaxreason.evaluation.statistics import Share, correlation, rank_correlation, share

PAPER_CELLS = 900
PAPER_BIN = 1000


def default_bin_width(width: int, height: int) -> int:
    """Tokens per length bin: the paper's 1,000 at 30x30, in proportion to the cells elsewhere.

    Rounded to 1, 2 or 5 times a power of ten.
    """
    wanted = PAPER_BIN * width * height / PAPER_CELLS
    power = 10.0 ** math.floor(math.log10(wanted))
    nearest = min((1, 2, 5, 10), key=lambda step: abs(math.log(step * power / wanted)))
    return max(1, round(nearest * power))


def bin_edges(lengths: Sequence[int], bin_width: int) -> list[int]:
    """Edges 0, bin_width, ... beyond the longest; one bin if there are no lengths."""
    if bin_width < 1:
        raise InputError(f"bin_width is {bin_width}; expected at least 1 token")
    bins = max(lengths, default=0) // bin_width + 1
    return [bin_width * edge for edge in range(bins + 1)]


def two_by_two(trace_valid: np.ndarray, plan_valid: np.ndarray) -> dict[str, int]:
    """Counts of the four combinations of a valid trace and a valid plan."""
    return {
        "both": int(np.sum(trace_valid & plan_valid)),
        "trace_only": int(np.sum(trace_valid & ~plan_valid)),
        "plan_only": int(np.sum(~trace_valid & plan_valid)),
        "neither": int(np.sum(~trace_valid & ~plan_valid)),
    }


def histogram(codes: Sequence[str | None]) -> dict[str, int]:
    """Counts of the codes that are not None, most frequent first, then by name."""
    counts = Counter(code for code in codes if code is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def summarise(judged: Judged, edges: Sequence[int]) -> dict[str, Any]:
    """All numbers of one generator at one temperature; see the module's docstring.

    Args:
        judged: verdicts.
        edges: ascending edges of the length bins in tokens of the true trace.
    """
    clusters = np.array(judged.problem, np.int64)
    plan = np.array(judged.plan_valid, bool)
    optimal = np.array(judged.optimal, bool)
    valid = {level: np.array(getattr(judged, level), bool) for level in LEVELS}
    written = np.array(judged.trace_tokens, np.int64)
    true = np.array(judged.true_trace_tokens, np.int64)

    def of_all(values: np.ndarray) -> dict[str, Any]:
        return share(values, clusters).as_json()

    def within(values: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
        return share(values[chosen], clusters[chosen]).as_json()

    problems, group = np.unique(clusters, return_inverse=True)
    solved = np.bincount(group, weights=plan, minlength=problems.size) > 0
    return {
        "plan_valid": of_all(plan),
        "optimal": of_all(optimal),
        "optimal_within_valid_plans": within(optimal, plan),
        "solved_by_any": share(solved, problems).as_json(),
        "truncated": of_all(np.array(judged.truncated, bool)),
        "has_trace": of_all(np.array(judged.has_trace, bool)),
        "trace_valid": {level: of_all(valid[level]) for level in LEVELS},
        "trace_valid_within_valid_plans": {level: within(valid[level], plan) for level in LEVELS},
        "table": {level: two_by_two(valid[level], plan) for level in LEVELS},
        "first_errors": histogram(judged.first_error),
        "first_strict_errors": histogram(judged.first_strict_error),
        "plan_errors": histogram(judged.plan_error),
        "by_length": [
            {
                "low": int(low),
                "high": int(high),
                "plan_valid": within(plan, inside),
                "trace_valid": within(valid["reference"], inside),
                "trace_valid_within_valid_plans": within(valid["reference"], inside & plan),
            }
            for low, high in pairwise(edges)
            for inside in [(true >= low) & (true < high)]
        ],
        "lengths": {
            "pearson": correlation(true, written),
            "spearman": rank_correlation(true, written),
            "generated_mean": float(written.mean()) if written.size else None,
            "true_mean": float(true.mean()) if true.size else None,
        },
    }


def read_share(value: dict[str, Any]) -> Share:
    """A share back from its JSON."""
    return Share(**value)

"""Countdown: make a target from given numbers with + - * /, each number used exactly once.

The task of TinyZero (Jiayi-Pan/TinyZero) and Stream of Search (Gandhi et al. 2024, arXiv
2404.03683). Needs numpy only. The names below load on first use.
"""

from jaxreason.lazy import lazy_names

_HOMES = {
    "Problem": "problem",
    "SPLITS": "problem",
    "split_of": "problem",
    "CountdownConfig": "generator",
    "generate": "generator",
    "MOST_NUMBERS": "solver",
    "canonical_solution": "solver",
    "solutions": "solver",
    "CODES": "verifier",
    "Verdict": "verifier",
    "judge": "verifier",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""Mazes: generators, A* with traces, text formats, training regimes, validators, pictures.

Needs numpy and numba, no JAX. The names below load on first use.
"""

import importlib
from typing import Any

_HOMES = {
    "Problem": "problem",
    "GENERATORS": "generators",
    "SPLITS": "generators",
    "MazeConfig": "generators",
    "SolvedBatch": "generators",
    "generate": "generators",
    "generate_solved": "generators",
    "generate_solved_batch": "generators",
    "split_of": "generators",
    "NoPathError": "astar",
    "TIE_BREAKS": "astar",
    "Trace": "astar",
    "search": "astar",
    "FORMATS": "formats",
    "Record": "formats",
    "parse": "formats",
    "parse_json_line": "formats",
    "prompt_text": "formats",
    "to_text": "formats",
    "REGIMES": "regimes",
    "derangement": "regimes",
    "drop": "regimes",
    "dropping_level": "regimes",
    "for_regime": "regimes",
    "paper_lines": "paper_stream",
    "paper_problems": "paper_stream",
    "judge": "validation",
    "validate_plan": "validation",
    "validate_trace": "validation",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

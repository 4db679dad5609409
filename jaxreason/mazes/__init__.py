"""Mazes: generators, A* with traces, text formats, training regimes, validators, pictures.

Needs numpy and numba, no JAX. The names below load on first use.
"""

from jaxreason.lazy import lazy_names

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
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""Generate, judge, tabulate, report. The names below load on first use."""

import importlib
from typing import Any

_HOMES = {
    "EvaluationSettings": "settings",
    "evaluate": "pipeline",
    "evaluate_run": "pipeline",
    "read_evaluation": "documents",
    "Judged": "judge",
    "judge_completions": "judge",
    "summarise": "tables",
    "Share": "statistics",
    "share": "statistics",
    "read_runs": "runs",
    "write_report": "report",
    "comparison_table": "terminal",
    "evaluation_table": "terminal",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Generate, judge, tabulate, report. The names below load on first use."""

from jaxreason.lazy import lazy_names

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
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""Published benchmarks of language models: their prompts, settings, readers and rules.

Names load on first use.
"""

from jaxreason.lazy import lazy_names

_HOMES = {
    "SETTINGS": "settings",
    "Setting": "settings",
    "find_setting": "settings",
    "Question": "questions",
    "read_questions": "questions",
    "BenchmarkRequest": "running",
    "run_benchmark": "running",
    "read_results": "results",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

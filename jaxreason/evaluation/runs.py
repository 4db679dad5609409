"""What a report needs of a run directory, read without loading the model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.benchmarks.results import is_result
from jaxreason.evaluation.documents import read_evaluation
from jaxreason.evaluation.statistics import Share
from jaxreason.paths import as_path
from jaxreason.training.files import flatten
from jaxreason.training.metrics import read_metrics

REGIME_LABELS = {
    "solution_only": "Solution only",
    "correct": "Correct traces",
    "swapped": "Swapped traces",
    "dropped": "Dropped traces",
}
GENERATOR_LABELS = {
    "wilson": "Wilson",
    "kruskal": "Kruskal",
    "dfs": "Depth-first",
    "drunkards_walk": "Drunkard's walk",
    "searchformer": "Searchformer style",
    "free_space": "Free space",
}


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it.

    Attributes:
        directory: the run directory.
        label: what to call it, unique within a report.
        regime: of its training data.
        config: config.json.
        rows: metrics.jsonl, empty if absent.
        summary: summary.json, empty if the run has not ended.
        evaluation: the document of `pipeline.evaluate`, or None.
    """

    directory: Path
    label: str
    regime: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    evaluation: dict[str, Any] | None

    def result(self, generator: str, temperature: float | None = None) -> dict[str, Any] | None:
        """The result of a generator at a temperature (the first one evaluated by default)."""
        if self.evaluation is None:
            return None
        if temperature is None:
            temperature = self.temperatures[0]
        for result in self.evaluation["results"]:
            if (result["generator"], result["temperature"]) == (generator, temperature):
                return result
        return None

    @property
    def temperatures(self) -> list[float]:
        """Temperatures evaluated, in order."""
        return self.evaluation["settings"]["temperatures"] if self.evaluation else []


def read_run(directory: str | Path, evaluation: str | None = None) -> RunRecord:
    """Reads a run directory.

    Args:
        directory: of the run.
        evaluation: name of the evaluation to show; by default that of the latest step on the
            test split, or on any split if there is none.

    Raises:
        FailureError: no run there, or a damaged file.
        InputError: there is no evaluation of that name.
    """
    run = as_path(directory)
    if not (run / "config.json").is_file():
        raise FailureError(
            f"{directory} is not a run directory: it has no config.json; train one with "
            "`jaxreason train`"
        )
    config = _read_object(run / "config.json")
    if not config:
        raise FailureError(f"{run / 'config.json'} is empty; it must describe an experiment")
    summary = _read_object(run / "summary.json") if (run / "summary.json").is_file() else {}
    metrics = run / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    document = _find_evaluation(run, evaluation)
    regime = document["regime"] if document else ""
    if not regime:
        named = [v for k, v in flatten(config).items() if k.split(".")[-1] == "regime"]
        regime = str(named[0]) if named else "unknown"
    label = REGIME_LABELS.get(regime, regime)
    return RunRecord(run, label, regime, config, rows, summary, document)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # no text, or no JSON
        raise FailureError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise FailureError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def evaluations(directory: str | Path) -> list[Path]:
    """The files of evaluations on mazes in a run directory; results of benchmarks are none.

    Raises:
        FailureError: a file there is damaged.
    """
    paths = sorted((as_path(directory) / "evaluation").glob("*.json"))
    return [path for path in paths if not is_result(_read_object(path))]


def _find_evaluation(run: Path, name: str | None) -> dict[str, Any] | None:
    paths = evaluations(run)
    if name is not None:
        if run / "evaluation" / f"{name}.json" not in paths:
            known = ", ".join(path.stem for path in paths) or "none; run `jaxreason evaluate`"
            raise InputError(f"evaluation {name!r} is not in {run}; there are: {known}")
        return read_evaluation(run / "evaluation" / f"{name}.json")
    documents = [read_evaluation(path) for path in paths]
    if not documents:
        return None
    return max(documents, key=lambda d: (d["settings"]["split"] == "test", d["step"] or 0))


def read_runs(
    directories: Sequence[str | Path], evaluation: str | None = None
) -> tuple[RunRecord, ...]:
    """Reads runs and gives them distinct labels; regimes in their usual order.

    Raises:
        InputError: no directory, the same one twice, or evaluations that do not compare: other
            mazes in training or test, another split or first temperature.
        FailureError: see `read_run`.
    """
    if not directories:
        raise InputError("no run given; expected at least one run directory")
    resolved = [as_path(directory).resolve() for directory in directories]
    if len(set(resolved)) != len(resolved):
        raise InputError("the same run directory is given twice")
    runs = [read_run(directory, evaluation) for directory in directories]
    _check_comparable(runs)
    order = list(REGIME_LABELS)
    runs.sort(key=lambda run: order.index(run.regime) if run.regime in order else len(order))
    labels = [run.label for run in runs]
    for place, run in enumerate(runs):
        if labels.count(run.label) > 1:
            number = labels[: place + 1].count(labels[place])
            runs[place] = replace(run, label=f"{labels[place]} #{number}")
    return tuple(runs)


def _check_comparable(runs: Sequence[RunRecord]) -> None:
    first: dict[str, tuple[Any, Path]] = {}
    for run in runs:
        if run.evaluation is None:
            continue
        settings = run.evaluation["settings"]
        for name, value in (
            ("width", run.evaluation["width"]),
            ("height", run.evaluation["height"]),
            ("trained_on", run.evaluation["trained_on"]),
            ("split", settings["split"]),
            ("first temperature", settings["temperatures"][0]),
        ):
            before, where = first.setdefault(name, (value, run.directory))
            if before != value:
                raise InputError(
                    f"{name} is {value!r} in {run.directory} but {before!r} in {where}; a report "
                    "compares runs on the same mazes, so write one report for each"
                )


def regimes_of(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by regime, in order."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.regime, []).append(run)
    return groups


def generators_of(runs: Sequence[RunRecord]) -> list[str]:
    """Generators any of the runs was evaluated on, the training generators first."""
    seen: dict[str, None] = {}
    documents = [run.evaluation for run in runs if run.evaluation is not None]
    evaluated = {result["generator"] for d in documents for result in d["results"]}
    for document in documents:
        if document["trained_on"] in evaluated:
            seen.setdefault(document["trained_on"])
    for document in documents:
        for result in document["results"]:
            seen.setdefault(result["generator"])
    return list(seen)


def pooled_counts(runs: Sequence[RunRecord], generator: str, *path: str) -> dict[str, int]:
    """Counts of the metrics, by their path such as `("table", "reference")`, summed over runs."""
    total: dict[str, int] = {}
    for run in runs:
        value: Any = run.result(generator)
        if value is not None:
            value = value["metrics"]
            for key in path:
                value = value[key]
            for name, count in value.items():
                total[name] = total.get(name, 0) + count
    return total


def pool(shares: Sequence[Share]) -> Share:
    """The mean of the same share over runs that differ in their seed.

    Its error is the larger of the spread between runs, sd / sqrt(runs), and what sampling problems
    alone would give: two runs that agree by chance do not make a certain number. Shares without
    observations are left out.
    """
    known = [item for item in shares if item.value is not None]
    if len(known) <= 1:
        return known[0] if known else Share(None, None, 0, 0, 0)
    values = np.array([item.value for item in known])
    errors = np.array([item.standard_error for item in known])
    between = float(values.std(ddof=1)) / np.sqrt(len(known))
    sampling = float(np.sqrt((errors**2).sum())) / len(known)
    return Share(
        float(values.mean()),
        float(max(between, sampling)),
        sum(item.n for item in known),
        sum(item.successes for item in known),
        sum(item.clusters for item in known),
    )


def pooled_share(
    runs: Sequence[RunRecord], generator: str, *path: str, temperature: float | None = None
) -> Share:
    """A share of the metrics, by its path such as `("trace_valid", "strict")`, over runs."""
    shares = []
    for run in runs:
        value: Any = run.result(generator, temperature)
        if value is not None:
            value = value["metrics"]
            for key in path:
                value = value[key]
            shares.append(Share(**value))
    return pool(shares)

"""Results of several runs side by side, with what papers print for the same benchmarks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from jaxreason.errors import InputError
from jaxreason.evaluation import page
from jaxreason.evaluation.benchmarks.published import SOURCES, Published, published
from jaxreason.evaluation.benchmarks.results import read_results
from jaxreason.evaluation.benchmarks.settings import BENCHMARKS
from jaxreason.evaluation.benchmarks.terminal import plain_table, setting_words
from jaxreason.evaluation.report_folder import put_in_place
from jaxreason.evaluation.statistics import Share
from jaxreason.paths import as_path

_PICTURES: Mapping[str, tuple[str, ...]] = {
    "vqav2": ("accuracy",),
    "pope": ("mean_accuracy", "mean_f1"),
    "gqa": ("accuracy",),
    "mme": ("perception", "cognition"),
    "geneval": ("overall",),
    "clip": ("clip",),
    "image_reward": ("image_reward",),
}
"""Of benchmarks with pictures, the metrics shown, in their own units."""

NOTE = (
    "Per cent with one standard error, and the number of questions. Scores of benchmarks with "
    "pictures are in their own units."
)
CAUTION = (
    "Numbers as the sources print them, by their own prompts and settings: a number under other "
    "settings neither reproduces nor contradicts them."
)


class RunResults(NamedTuple):
    """A run or a folder of results: what to call it, and its documents."""

    label: str
    documents: tuple[dict[str, Any], ...]


class Row(NamedTuple):
    """One metric of one benchmark.

    Attributes:
        benchmark: its name.
        words: benchmark and settings.
        metric: which one.
        cells: one per run, "–" where it has none.
    """

    benchmark: str
    words: str
    metric: str
    cells: tuple[str, ...]


def gather(directories: Sequence[str | Path]) -> tuple[RunResults, ...]:
    """The results of each directory, in order; () if none has any.

    Raises:
        FailureError: a damaged file.
    """
    paths = [as_path(directory) for directory in directories]
    documents = [tuple(read_results(path)) for path in paths]
    if not any(documents):
        return ()
    names = [path.resolve().name for path in paths]
    labels = [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for name, path in zip(names, paths, strict=True)
    ]
    return tuple(RunResults(*pair) for pair in zip(labels, documents, strict=True))


def rows_of(runs: Sequence[RunResults]) -> list[Row]:
    """A row for every metric under every setting, benchmarks of texts first."""
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    for place, run in enumerate(runs):
        for document in run.documents:
            for words, metric, cell in _cells(document):
                cells = found.setdefault((document["benchmark"], words, metric), {})
                # Of several checkpoints under one setting, each is shown.
                cells[place] = f"{cells[place]}; {cell}" if place in cells else cell
    order = [*BENCHMARKS, *_PICTURES]
    keys = sorted(found, key=lambda key: order.index(key[0]) if key[0] in order else len(order))
    return [
        Row(*key, tuple(found[key].get(place, "–") for place in range(len(runs)))) for key in keys
    ]


def _cells(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(words, metric, cell) of a document's metrics."""
    name, metrics = document["benchmark"], document["metrics"]
    if "identity" not in document:
        shown = _PICTURES.get(name, tuple(metrics))
        return [
            (name, metric, f"{metrics[metric]:.2f} ({document['count']:,})")
            for metric in shown
            if isinstance(metrics.get(metric), int | float)
        ]
    state = "" if document["complete"] else ", unfinished"
    step = document["identity"]["step"]
    return [
        (
            setting_words(dict(document)),
            metric,
            f"{Share(**share).text()} ({share['n']:,}{state}, step {step})",
        )
        for metric, share in metrics.items()
    ]


def _models(numbers: Sequence[Published]) -> tuple[list[str], list[list[str]]]:
    """Benchmarks, and a line for each model and source: model, numbers, mark of the source."""
    benchmarks = list(dict.fromkeys(number.benchmark for number in numbers))
    marks = {s: str(i + 1) for i, s in enumerate(dict.fromkeys(n.source for n in numbers))}
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for number in numbers:
        line = lines.setdefault((number.model, number.source), {})
        line[number.benchmark] = f"{number.value:.1f}"
    rows = [
        [model, *(line.get(benchmark, "–") for benchmark in benchmarks), f"[{marks[source]}]"]
        for (model, source), line in lines.items()
    ]
    return benchmarks, rows


def sources_of(numbers: Sequence[Published]) -> list[str]:
    """The sources of numbers, numbered as in the tables."""
    return [
        f"[{place + 1}] {SOURCES[source]}"
        for place, source in enumerate(dict.fromkeys(number.source for number in numbers))
    ]


def terminal_tables(runs: Sequence[RunResults]) -> list[Table | str]:
    """The tables for the terminal: ours, and the papers' with their sources."""
    table = plain_table("% correct", *(run.label for run in runs))
    rows = rows_of(runs)
    for place, row in enumerate(rows):
        if not place or rows[place - 1].words != row.words:
            table.add_row(row.words, style="bold")
        table.add_row(f"  {row.metric}", *row.cells)
    numbers = published(row.benchmark for row in rows)
    if not numbers:
        return [table]
    benchmarks, lines = _models(numbers)
    theirs = plain_table("published", *benchmarks, "")
    for line in lines:
        theirs.add_row(*(cell.replace("[", "\\[") for cell in line))
    return [table, "", theirs, *(line.replace("[", "\\[") for line in sources_of(numbers)), CAUTION]


def section(runs: Sequence[RunResults]) -> str:
    """The section of a page."""
    rows = rows_of(runs)
    head = ["", *(page.escape(run.label) for run in runs)]
    ours = page.table(
        head, [[page.escape(row.words), *map(page.escape, row.cells)] for row in rows]
    )
    cut = sum(document.get("cut", 0) for run in runs for document in run.documents)
    note = NOTE
    if cut:
        note += f" {cut:,} prompts were longer than the model sees and lost their beginning."
    made = page.section("Benchmarks", ours, note=note)
    numbers = published(row.benchmark for row in rows)
    if not numbers:
        return made
    benchmarks, lines = _models(numbers)
    theirs = page.table(["", *benchmarks, ""], [list(map(page.escape, line)) for line in lines])
    sources = "<br>".join(page.escape(source) for source in sources_of(numbers))
    return made + page.section(
        "Published numbers", theirs, f'<p class="note">{sources}</p>', note=page.escape(CAUTION)
    )


def numbers_of(runs: Sequence[RunResults]) -> dict[str, Any]:
    """The same as JSON: [{label, results: [documents]}], and the published numbers."""
    benchmarks = {document["benchmark"] for run in runs for document in run.documents}
    return {
        "runs": [{"label": run.label, "results": list(run.documents)} for run in runs],
        "published": [number._asdict() for number in published(benchmarks)],
        "sources": dict(SOURCES),
    }


def write_side_by_side(
    runs: Sequence[RunResults], directories: Sequence[str | Path], out: str | Path | None = None
) -> Path:
    """Writes report.html and report.json of benchmarks alone; returns the page's path.

    Args:
        runs: of `gather`.
        directories: what they were gathered from.
        out: folder; by default `report` in the first directory.

    Raises:
        InputError: the same directory twice.
        FailureError: the disk refuses.
    """
    paths = [as_path(directory).resolve() for directory in directories]
    if len(set(paths)) != len(paths):
        raise InputError("the same run directory is given twice")
    folder = as_path(out) if out is not None else as_path(directories[0]) / "report"
    title = runs[0].label if len(runs) == 1 else f"{len(runs)} runs on benchmarks"
    settings = "".join(_details(run) for run in runs)
    body = [f"<header><h1>{page.escape(title)}</h1></header>", section(runs), settings]
    body.append("<footer>Made by jaxreason; the same numbers are in report.json.</footer>")
    text = json.dumps({"benchmarks": numbers_of(runs)}, indent=1, allow_nan=False) + "\n"
    return put_in_place(folder, "report.html", page.page(title, body), {"report.json": text}, {})


def _details(run: RunResults) -> str:
    """What each result of a run was made with, folded."""
    parts = []
    for document in run.documents:
        identity = document.get("identity", {})
        known = {"settings": identity.get("settings"), "environment": document.get("environment")}
        known |= {key: document[key] for key in ("subjects", "prompt", "notes") if key in document}
        shown = page.escape(json.dumps(known, indent=2, ensure_ascii=False))
        name = page.escape(document["benchmark"])
        parts.append(f"<details><summary>{name}</summary><pre>{shown}</pre></details>")
    return page.section(run.label, *parts) if parts else ""

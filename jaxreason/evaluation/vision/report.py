"""What a scorer says: numbers by name and tables, as JSON, on the terminal and as Markdown."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxreason.errors import disk_errors
from jaxreason.paths import as_path

SCHEMA = "26.1"
"""Year and month of the layout of a score document."""

Cell = str | int | float | None


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
        title: above it.
        columns: headings; the first names the rows.
        rows: as many cells as columns; None is shown as a dash.
        digits: after the point.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = 2


@dataclass(frozen=True)
class ScoreReport:
    """The result of one benchmark.

    Attributes:
        benchmark: its name on the command line.
        count: questions or pictures that were scored.
        metrics: name to value; None where it is not defined, such as a precision without a yes.
        sections: tables.
        notes: what a reader has to know beside them.
        files: what was read, by role.
    """

    benchmark: str
    count: int
    metrics: Mapping[str, float | int | None]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    files: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The document that `jaxreason score --json` prints and --out writes."""
        return {
            "schema": SCHEMA,
            "benchmark": self.benchmark,
            "count": self.count,
            "metrics": dict(self.metrics),
            "tables": [
                {"title": s.title, "columns": list(s.columns), "rows": [list(r) for r in s.rows]}
                for s in self.sections
            ],
            "notes": list(self.notes),
            "files": dict(self.files),
        }


def mean(values: list[float]) -> float | None:
    """Their mean, rounded once at the end; None if there are none."""
    return math.fsum(values) / len(values) if values else None


def per_cent(values: list[float]) -> float | None:
    """100 times the mean; None if there are none."""
    average = mean(values)
    return None if average is None else 100 * average


def cell_text(cell: Cell, digits: int) -> str:
    """A cell as it is shown: a dash for None."""
    if cell is None:
        return "–"
    return f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell)


def markdown(report: ScoreReport) -> str:
    """The tables and notes as Markdown."""
    lines = [f"# {report.benchmark}", ""]
    for section in report.sections:
        lines += [f"## {section.title}", "", _row(section.columns)]
        lines.append(_row(("---", *("---:" for _ in section.columns[1:]))))
        for row in section.rows:
            lines.append(_row(tuple(cell_text(cell, section.digits) for cell in row)))
        lines.append("")
    lines += [f"- {note}" for note in report.notes]
    return "\n".join(lines).rstrip() + "\n"


def write_report(report: ScoreReport, folder: str | Path) -> Path:
    """Writes BENCHMARK.json and BENCHMARK.md into a folder; returns the first one's path.

    Raises:
        FailureError: the disk is full or refuses.
    """
    folder = as_path(folder)
    path = folder / f"{report.benchmark}.json"
    with disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
        (folder / f"{report.benchmark}.md").write_text(markdown(report), encoding="utf-8")
    return path


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

"""What the scripts of this folder print and write: tables, a figure, a JSON document."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from study import Study

from jaxreason.evaluation.environment import environment


class Sheet(NamedTuple):
    """A table.

    Attributes:
        title: a sentence about what its numbers are.
        headers: of the columns.
        rows: cells as text, as many as headers.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """For a README: the title as a paragraph, then the table."""
        lines = [self.headers, ["---"] * len(self.headers), *self.rows]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{self.title}\n\n{body}\n"

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left", header_style="dim", box=None)
        for number, header in enumerate(self.headers):
            table.add_column(header, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*row)
        return table


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean over runs and its standard error, which is None for a single run.

    Args:
        values: one of each run; those that are None are left out.
    """
    known = [float(value) for value in values if value is not None]
    error = np.std(known, ddof=1) / math.sqrt(len(known)) if len(known) > 1 else None
    return {
        "mean": float(np.mean(known)) if known else None,
        "standard_error": None if error is None else float(error),
        "values": known,
    }


def cell(found: Mapping[str, Any], digits: int = 1, scale: float = 100) -> str:
    """Mean and standard error as text, per cent by default."""
    if found["mean"] is None:
        return "–"
    text = f"{scale * found['mean']:.{digits}f}"
    if found["standard_error"] is None:
        return text
    return f"{text} ± {scale * found['standard_error']:.{digits}f}"


def settings(study: Study) -> dict[str, Any]:
    """What all runs of a study share, for documents."""
    template = study.template
    return {
        "steps": study.steps,
        "learning_rate": study.rate,
        "sequences_per_update": template.rollout.rows // template.rollout.minibatches,
        "held_out_problems": template.held_out,
        "seeds": list(study.seeds),
        "base_steps": study.base.train.steps,
        "sampled_problems": study.sampling.problems,
        "environment": environment(),
    }


def publish(
    study: Study, name: str, document: Mapping[str, Any], sheets: Sequence[Sheet], figure: bytes
) -> None:
    """Print the tables and write `NAME.json`, `NAME.md` and `NAME.png` into the results."""
    study.results.mkdir(parents=True, exist_ok=True)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    for sheet in sheets:
        console.print(sheet.rich(), end="\n\n")
    whole = {"settings": settings(study), **document}
    text = json.dumps(whole, indent=1, allow_nan=False)
    _path(study, name, "json").write_text(text + "\n")
    _path(study, name, "md").write_text("\n".join(sheet.markdown() for sheet in sheets))
    _path(study, name, "png").write_bytes(figure)
    console.print(f"written: {study.results}/{name}.json, .md, .png")


def _path(study: Study, name: str, suffix: str) -> Path:
    return study.results / f"{name}.{suffix}"


def dot_rows(
    axes: Any,
    labels: Sequence[str],
    series: Mapping[str, tuple[Sequence[Mapping[str, Any]], str, str]],
    scale: float = 100,
) -> dict[str, Any]:
    """A row of dots with error bars for each label; the first label on top.

    Args:
        axes: of matplotlib.
        labels: of the rows.
        series: words to (one `spread` per label, colour, marker).
        scale: of the numbers.

    Returns:
        The keys of a legend.
    """
    y = np.arange(len(labels))[::-1]
    handles: dict[str, Any] = {}
    for number, (words, (values, color, marker)) in enumerate(series.items()):
        known = [np.nan if v["mean"] is None else scale * v["mean"] for v in values]
        errors = [scale * (v["standard_error"] or 0.0) for v in values]
        # A little apart, or equal numbers would hide each other.
        shifted = y + 0.5 * (0.5 - (number + 0.5) / len(series))
        handles[words] = axes.errorbar(
            known, shifted, xerr=errors, color=color, marker=marker, ms=6, linestyle="", capsize=2
        )
    axes.set_yticks(y, labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(visible=False, axis="y")
    return handles

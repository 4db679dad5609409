"""The tables of a study, on a terminal and as a page."""

import re
from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from jaxreason.evaluation import overlap_figures, page
from jaxreason.evaluation.comparison_tables import mean_ranks, per_cent
from jaxreason.evaluation.overlap_tables import reading, rule_words
from jaxreason.evaluation.overlap_tables import tables as overlap_tables
from jaxreason.evaluation.study import Studied, Study
from jaxreason.evaluation.style import THEMES

READ = {
    "exact": "as stored",
    "absolute": "within tolerance",
    "bf16_exact": "in bf16",
    "paper": "in bf16, within tolerance",
}
"""Columns of unchanged weights; the last is how Mukherjee et al. 2025 count."""

_NOTE = (
    "Unchanged weights, per cent. In float32 hardly any weight stays as it was; read in bfloat16 "
    "most small updates vanish, whatever made them: compare runs of one learning rate and length. "
    "Update: norm of the difference over that of the weights. Stable rank: mean over matrices, "
    "per cent of the full rank."
)


def rows(found: Study) -> Iterator[list[str]]:
    """A row of cells for each run, beginning with its name."""
    for name, run in zip(names(found), found.runs, strict=True):
        total = run.comparison.total()
        moved = (total.delta_square / total.before_square) ** 0.5 if total.before_square else 0.0
        ranks = mean_ranks(run.comparison)
        shares = [per_cent(total.sparsity(key)) for key in READ]
        stable = "–" if ranks is None else per_cent(ranks["stable"])
        yield [name, run.method or "–", _outcome(run), *shares, f"{100 * moved:.3g}", stable]


def head(newline: str = " ") -> list[str]:
    """Titles of the columns of `rows`."""
    fixed = ["update, %", "stable rank"]
    titles = ["run", "trained by", "held out", *READ.values(), *fixed]
    return [title.replace(", ", f",{newline}") for title in titles]


def names(found: Study) -> list[str]:
    """A short name for each run, good for a folder, no two alike."""
    short = []
    for number, run in enumerate(found.runs, 1):
        last = [part for part in run.path.split("/") if part][-1:] or ["run"]
        short.append(re.sub(r"[^\w.@-]", "_", last[0]) or f"run{number}")
    taken = {"overlap"}
    unique = []
    for number, name in enumerate(short, 1):
        chosen = f"{number}-{name}" if name in taken or short.count(name) > 1 else name
        taken.add(chosen)
        unique.append(chosen)
    return unique


def _outcome(run: Studied) -> str:
    if run.outcome is None:
        return "–"
    name, first, last = run.outcome
    return f"{name.removeprefix('held-out ')} {first:.3g} to {last:.3g}"


def tables(found: Study) -> Iterator[Table | Text]:
    """What `jaxreason study` prints."""
    cells, titles = list(rows(found)), head("\n")
    # Two tables, so that lines of 80 columns hold them.
    for title, columns in (
        (f"runs from {found.base}", [0, 1, 2]),
        ("unchanged weights, per cent", [0, *range(3, len(titles))]),
    ):
        table = Table(
            title=title,
            title_justify="left",
            header_style="dim",
            box=None,
            pad_edge=False,
            padding=(0, 2, 0, 0),
        )
        for number in columns:
            words = number < 3
            table.add_column(
                titles[number],
                justify="left" if words else "right",
                overflow="fold" if words else "ellipsis",
            )
        for row in cells:
            table.add_row(*(row[number] for number in columns))
        yield table
    if found.overlap is not None:
        yield from overlap_tables(found.overlap)


def build(found: Study) -> tuple[str, dict[str, bytes]]:
    """The page, and the light figures by name."""
    linked = []
    for row in rows(found):
        cells = [page.escape(cell) for cell in row]
        linked.append([f'<a href="{cells[0]}/compare.html">{cells[0]}</a>', *cells[1:]])
    table = page.table([page.escape(title) for title in head()], linked)
    body = [
        "<header><h1>What post-training changed</h1>"
        f'<p class="lead">{len(found.runs)} run{"s" * (len(found.runs) > 1)} from '
        f"{page.escape(found.base)}.</p></header>",
        page.section("Every run", table, note=_NOTE),
    ]
    images: dict[str, bytes] = {}
    if found.overlap is not None:
        content, images = _overlap(found.overlap)
        body.append(content)
    body.append(
        "<footer>After Mukherjee et al. 2025, arXiv 2505.11711. Made by jaxreason; all numbers are "
        "in study.json, and every run has a page of its own.</footer>"
    )
    return page.page("What post-training changed", body), images


def _overlap(document: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    two = "o1" in document["total"]["observed"]
    draw = overlap_figures.against_nulls if two else overlap_figures.every_two
    images = {theme.name: image for theme in THEMES if (image := draw(document, theme))}
    title = "What every two runs changed alike"
    words = f"{page.escape(rule_words(document))}. " + (
        page.escape(reading(document["total"])) if two else ""
    )
    parts = [page.picture(images, title)] if images else []
    parts.append('<p><a href="overlap/overlap.html">all numbers</a></p>')
    content = page.section(title, *parts, note=words)
    return content, {"overlap": images["light"]} if images else {}

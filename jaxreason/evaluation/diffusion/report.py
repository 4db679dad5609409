"""The report of a model trained through the stages: one HTML page, its pictures and animations."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.evaluation import page
from jaxreason.evaluation.diffusion.stage_figure import stage_figure
from jaxreason.evaluation.diffusion.stage_table import (
    TASK_LABELS,
    StageResult,
    measures_html,
    stage_html,
    stage_lines,
    tasks_of,
)
from jaxreason.evaluation.report_folder import put_in_place
from jaxreason.paths import as_path
from jaxreason.training.files import disk_errors

PAGE = "index.html"


class Sheet(NamedTuple):
    """A section with one still picture.

    Attributes:
        name: of the PNG file.
        title: heading.
        note: under it, HTML.
        images: PNG by theme ("light", "dark").
    """

    name: str
    title: str
    note: str
    images: Mapping[str, bytes]


class Moving(NamedTuple):
    """An animation: name of the GIF file, what is seen, and its bytes."""

    name: str
    title: str
    gif: bytes


class Report(NamedTuple):
    """What the page shows, from top to bottom.

    Attributes:
        title: heading of the page.
        lead: under it, plain text.
        stages: rows of the stage table.
        variants: rows of the table of reasoning variants; may be empty.
        sheets: pictures.
        moving: animations.
        facts: name and value of what was trained, plain text.
    """

    title: str
    lead: str
    stages: Sequence[StageResult]
    variants: Sequence[StageResult]
    sheets: Sequence[Sheet]
    moving: Sequence[Moving]
    facts: Mapping[str, str]


def write(folder: str | Path, report: Report) -> Path:
    """Write the page, its PNGs and GIFs, the tables as text and the numbers as JSON.

    Returns:
        The path of the page.

    Raises:
        FailureError: the disk refuses.
    """
    numbers = {
        "stages": [stage.as_json() for stage in report.stages],
        "variants": [stage.as_json() for stage in report.variants],
    }
    texts = {
        "stages.txt": stage_lines(report.stages) + "\n",
        "numbers.json": json.dumps(numbers, indent=2) + "\n",
    }
    figure = stage_figure(report.stages)
    images = {sheet.name: sheet.images["light"] for sheet in report.sheets}
    images["stages"] = figure["light"]
    made = put_in_place(as_path(folder), PAGE, html(report, figure), texts, images)
    for moving in report.moving:
        with disk_errors(str(folder)):
            (as_path(folder) / f"{moving.name}.gif").write_bytes(moving.gif)
    return made


def html(report: Report, figure: Mapping[str, bytes]) -> str:
    """The page as one self-contained text; `figure` is the stage table drawn, by theme."""
    body = [
        f"<header><h1>{page.escape(report.title)}</h1>"
        f'<p class="lead">{page.escape(report.lead)}</p></header>',
        page.section(
            "What each stage taught",
            stage_html(report.stages),
            page.picture(figure, "Right answers by task and stage"),
            note="Per cent of held-out mazes solved or drawn without a single error, ± one "
            "standard error. Every answer is judged by code.",
        ),
    ]
    if report.variants:
        body.append(_variants(report.variants))
    if report.moving:
        body.append(_animations(report.moving))
    body += [
        page.section(sheet.title, page.picture(sheet.images, sheet.title), note=sheet.note)
        for sheet in report.sheets
    ]
    body.append(_details(report.stages))
    rows = [(page.escape(name), page.escape(value)) for name, value in report.facts.items()]
    body.append(page.section("What was trained", page.table(("", ""), rows, "facts")))
    return page.page(report.title, body)


def _variants(variants: Sequence[StageResult]) -> str:
    return page.section(
        "Does the reasoning have to be right?",
        stage_html(variants),
        *(
            f"<h3>{page.escape(TASK_LABELS.get(task, task))}</h3>" + measures_html(variants, task)
            for task in tasks_of(variants)
        ),
        note="The same stage trained on traces of the maze itself, on traces of other mazes, and "
        "without any: the question of Stechly et al. 2025 (arXiv:2505.13775) asked of a diffusion "
        "model.",
    )


def _animations(moving: Sequence[Moving]) -> str:
    shown = "".join(
        f"<h3>{page.escape(item.title)}</h3>"
        f'<img src="data:image/gif;base64,{base64.b64encode(item.gif).decode()}" '
        f'alt="{page.escape(item.title)}" style="max-width:100%;height:auto;border-radius:6px">'
        for item in moving
    )
    return page.section(
        "How an answer appears",
        shown,
        note="All tokens are masked at first; each step keeps those the model is most sure of.",
    )


def _details(stages: Sequence[StageResult]) -> str:
    tables = "".join(
        f"<h3>{page.escape(TASK_LABELS.get(task, task))}</h3>{measures_html(stages, task)}"
        for task in tasks_of(stages)
    )
    return page.section(
        "Every measure", f"<details><summary>By task and stage</summary>{tables}</details>"
    )

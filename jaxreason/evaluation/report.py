"""A report of one or several runs: one HTML page, the figures as PNG, the numbers as JSON."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxreason.evaluation import facts, figures, gallery, length_figures, page, sections
from jaxreason.evaluation.benchmarks import side_by_side
from jaxreason.evaluation.report_folder import put_in_place
from jaxreason.evaluation.runs import (
    RunRecord,
    generators_of,
    pooled_share,
    read_runs,
    regimes_of,
)
from jaxreason.evaluation.style import THEMES, Theme
from jaxreason.paths import as_path

Draw = Callable[[Sequence[RunRecord], Theme], bytes | None]

_FIGURES: tuple[tuple[str, str, Draw, str], ...] = (
    (
        "learning_curves",
        "Learning curves",
        figures.learning_curves,
        "Lines are training batches, points are held-out problems. Regimes differ in how "
        "predictable their tokens are, so compare losses within a regime only.",
    ),
    (
        "two_by_two",
        "Does a valid plan need a valid trace?",
        figures.two_by_two,
        "Per cent of completions, reference level. Top left: trace and plan both valid; top "
        "right: a valid plan after an invalid trace.",
    ),
    (
        "first_errors",
        "The first error of each trace",
        figures.first_errors,
        "Per cent of completions whose trace breaks first in this way, reference level.",
    ),
    (
        "by_length",
        "Validity by problem difficulty",
        length_figures.by_length,
        "Problems binned by the length of their true A* trace; one standard error.",
    ),
    (
        "lengths",
        "Does a harder problem get a longer trace?",
        length_figures.lengths,
        "One point per completion; on the line, the generated trace is as long as the true one.",
    ),
)


def build(
    runs: Sequence[RunRecord], results: Sequence[side_by_side.RunResults] = ()
) -> tuple[str, dict[str, bytes], dict[str, Any]]:
    """The page, the light figures by name, and the numbers of a report.

    Args:
        runs: from `read_runs`.
        results: of benchmarks, if there are any.
    """
    drawn: dict[str, dict[str, bytes]] = {}
    for name, draw in (
        ("headline", figures.headline),
        *((name, draw) for name, _, draw, _ in _FIGURES),
    ):
        images = {theme.name: image for theme in THEMES if (image := draw(runs, theme))}
        if images:
            drawn[name] = images
    sheets = {theme.name: gallery.pictures(runs, theme) for theme in THEMES}
    files = {name: images["light"] for name, images in drawn.items()}
    for number, (label, image) in enumerate(sheets["light"].items()):
        files[f"mazes_{number}_{label.lower().replace(' ', '_').replace('#', '')}"] = image
    found = numbers(runs)
    if results:
        found["benchmarks"] = side_by_side.numbers_of(results)
    return _page(runs, drawn, sheets, results), files, found


def _page(
    runs: Sequence[RunRecord],
    drawn: dict[str, dict[str, bytes]],
    sheets: dict[str, dict[str, bytes]],
    results: Sequence[side_by_side.RunResults],
) -> str:
    title = "Do intermediate tokens have to mean anything?" if len(runs) > 1 else runs[0].label
    body = [
        f'<header><h1>{page.escape(title)}</h1><p class="lead">{sections.scope(runs)}</p></header>'
    ]
    if generators_of(runs):
        how = sections.decoding(next(run.temperatures[0] for run in runs if run.evaluation))
        note = (
            f"Per cent with one standard error, {how} decoding. At 0 or 100 the error is "
            "the far end of Wilson's interval, so it is never zero. Traces at the reference level."
        )
        body.append(sections.cards(runs))
        chart = page.picture(drawn["headline"], "Valid plans by test mazes and regime")
        table = sections.headline_table(runs)
        body.append(page.section("Valid plans", table, chart, sections.skipped(runs), note=note))
        body.append(sections.paper_table(runs))
    for name, heading, _, note in _FIGURES:
        if name in drawn:
            body.append(page.section(heading, page.picture(drawn[name], heading), note=note))
    if sheets["light"]:
        parts = [
            f"<h3>{page.escape(label)}</h3>"
            + page.picture(
                {name: made[label] for name, made in sheets.items()}, f"Mazes of {label}"
            )
            for label in sheets["light"]
        ]
        note = (
            "Green disc: start; star: goal; line: the model's plan. Blue cells were closed by the "
            "model's search, darker the later, yellowish ones only created; a red cross marks the "
            "first error of the trace, or of the plan where no event of the trace is wrong."
        )
        body.append(page.section("Solved and failed mazes", *parts, note=note))
    if generators_of(runs):
        details = sections.detail_tables(runs)
        body.append(
            page.section(
                "All numbers",
                details,
                note="Per cent with standard errors; n completions. Valid traces at the reference "
                "level, then strict and exact (the very events of the solver).",
            )
        )
    if results:
        body.append(side_by_side.section(results))
    body.append(page.section("The runs", facts.facts(runs)))
    body.append(
        "<footer>Method: Stechly et al. 2025, arXiv 2505.13775. Made by jaxreason; the same "
        "numbers are in report.json.</footer>"
    )
    return page.page(title, body)


def numbers(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """The report as JSON.

    Returns:
        {regimes: {regime: {generator: {plan_valid, trace_valid} pooled over its runs}},
        runs: [{label, regime, facts, results: [{generator, temperature, metrics}], skipped}]}.
    """
    return {
        "regimes": {
            regime: {
                generator: {
                    "plan_valid": pooled_share(members, generator, "plan_valid").as_json(),
                    "trace_valid": pooled_share(
                        members, generator, "trace_valid", "reference"
                    ).as_json(),
                }
                for generator in generators_of(members)
            }
            for regime, members in regimes_of(runs).items()
        },
        "runs": [
            {
                "label": run.label,
                "regime": run.regime,
                "facts": facts.run_facts(run),
                "results": [
                    {key: result[key] for key in ("generator", "temperature", "metrics")}
                    for result in (run.evaluation or {"results": []})["results"]
                ],
                "skipped": (run.evaluation or {"skipped": []})["skipped"],
            }
            for run in runs
        ],
    }


def write_report(
    directories: Sequence[str | Path],
    out: str | Path | None = None,
    evaluation: str | None = None,
) -> Path:
    """Writes report.html, report.json and PNGs; returns the path of the page.

    The folder is put in place whole, so a half-written report never stands as complete; files of
    an earlier report in it are replaced, other files are left alone.

    Args:
        directories: run directories.
        out: folder; by default `report` in the first run directory.
        evaluation: name of the evaluation to show; the latest by default.

    Raises:
        InputError, FailureError: see `runs.read_runs`; the disk refuses.
    """
    runs = read_runs(directories, evaluation)
    folder = as_path(out) if out is not None else runs[0].directory / "report"
    html, images, found = build(runs, side_by_side.gather(directories))
    texts = {"report.json": json.dumps(found, indent=1, allow_nan=False) + "\n"}
    return put_in_place(folder, "report.html", html, texts, images, stale="mazes_*.png")

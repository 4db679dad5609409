"""The sections of a report that are words and tables rather than figures."""

from collections.abc import Sequence
from typing import Any

from jaxreason.evaluation import page
from jaxreason.evaluation.published import EXPLANATIONS, MARKS, PAPER_SIDE, published
from jaxreason.evaluation.runs import (
    GENERATOR_LABELS,
    REGIME_LABELS,
    RunRecord,
    generators_of,
    pooled_share,
    regimes_of,
)
from jaxreason.evaluation.statistics import Share


def generator_name(generator: str) -> str:
    """A generator in words."""
    return page.escape(GENERATOR_LABELS.get(generator, generator))


def regime_name(regime: str, runs: Sequence[RunRecord]) -> str:
    """A regime in words, with the number of runs if several."""
    name = page.escape(REGIME_LABELS.get(regime, regime))
    return f"{name} ({len(runs)} runs)" if len(runs) > 1 else name


def decoding(temperature: float) -> str:
    """A temperature in words."""
    return "greedy" if temperature == 0 else f"temperature {temperature:g}"


def _error(share: Share) -> str:
    return "" if share.standard_error is None else f" ± {100 * share.standard_error:.1f}"


def _value(share: Share) -> str:
    return "–" if share.value is None else f"{100 * share.value:.1f}"


def has_traces(regime: str) -> bool:
    """Whether trace validity says anything about a regime."""
    return regime != "solution_only"


def cards(runs: Sequence[RunRecord]) -> str:
    """One card per regime: validity on the generator trained on."""
    generators = generators_of(runs)
    if not generators:
        return ""
    home = generators[0]
    made = []
    for regime, members in regimes_of(runs).items():
        plan = pooled_share(members, home, "plan_valid")
        rows = [("optimal plans", pooled_share(members, home, "optimal"))]
        if has_traces(regime):
            within = ("trace_valid_within_valid_plans", "reference")
            rows += [
                ("valid traces", pooled_share(members, home, "trace_valid", "reference")),
                ("valid traces among valid plans", pooled_share(members, home, *within)),
            ]
        rows.append(("cut by the length limit", pooled_share(members, home, "truncated")))
        items = "".join(f"<dt>{name}</dt><dd>{share.text()}</dd>" for name, share in rows)
        made.append(
            f'<div class="card" {page.color_of(regime)}><b>{regime_name(regime, members)}</b>'
            f'<div class="big">{_value(plan)}<small>{_error(plan)} %</small></div>'
            f'<div class="sub">valid plans, held-out {generator_name(home)}, '
            f"{plan.n} completions</div><dl>{items}</dl></div>"
        )
    return f'<div class="cards">{"".join(made)}</div>'


def headline_table(runs: Sequence[RunRecord]) -> str:
    """Regimes by generators: plan validity with its error; trace validity below."""
    groups = regimes_of(runs)
    head = ["Test mazes"] + [
        page.regime(regime, regime_name(regime, members)) for regime, members in groups.items()
    ]
    rows = []
    for generator in generators_of(runs):
        row = [generator_name(generator)]
        for regime, members in groups.items():
            plan = pooled_share(members, generator, "plan_valid")
            trace = pooled_share(members, generator, "trace_valid", "reference")
            below = f"<small>traces {trace.text()}</small>" if has_traces(regime) else ""
            row.append(plan.text() + page.bar(plan.value or 0.0, regime) + below)
        rows.append(row)
    return page.table(head, rows)


def paper_table(runs: Sequence[RunRecord]) -> str:
    """Our numbers beside the paper's, each of those marked; empty for other sizes than 30x30."""
    rows = []
    groups = regimes_of(runs)
    for generator in generators_of(runs):
        for regime, members in groups.items():
            document = members[0].evaluation
            if document is None:
                continue
            theirs = {
                (number.metric, number.version): number.text()
                for metric in ("plan_valid", "trace_valid")
                for number in published(
                    document["trained_on"],
                    generator,
                    regime,
                    metric,
                    document["width"],
                    document["height"],
                )
            }
            if theirs:
                rows.append(_beside(generator, regime, members, theirs))
    if not rows:
        return ""
    marks = "; ".join(f"{MARKS[how]} {text}" for how, text in EXPLANATIONS.items())
    head = ["Test mazes", "Trained with", "Valid plans<br>here", "paper v1", "paper v3"]
    head += ["Valid traces<br>here", "paper v1"]
    return page.section(
        "Beside the paper",
        page.table(head, rows),
        note="Per cent. Stechly et al. 2025, arXiv 2505.13775. None of the paper's numbers is "
        f"verified here: {marks}. Its two versions differ in set-up.",
    )


def _beside(
    generator: str,
    regime: str,
    members: Sequence[RunRecord],
    theirs: dict[tuple[str, str], str],
) -> list[str]:
    name = page.regime(regime, regime_name(regime, members))
    return [
        generator_name(generator),
        name,
        pooled_share(members, generator, "plan_valid").text(),
        theirs.get(("plan_valid", "v1"), "–"),
        theirs.get(("plan_valid", "v3"), "–"),
        pooled_share(members, generator, "trace_valid", "reference").text(),
        theirs.get(("trace_valid", "v1"), "–"),
    ]


_DETAIL = ("Test mazes", "n", "Valid<br>plans", "Optimal<br>plans", "Cut by<br>the limit")
_TRACE_DETAIL = (
    "Valid<br>traces",
    "strict",
    "exact",
    "Valid traces<br>in valid plans",
    "Length<br>correlation",
)


def detail_tables(runs: Sequence[RunRecord]) -> str:
    """Every share of every run, generator and temperature."""
    parts = []
    for run in runs:
        traced = has_traces(run.regime)
        for temperature in run.temperatures:
            rows = []
            for generator in generators_of([run]):
                result = run.result(generator, temperature)
                if result is not None:
                    rows.append([generator_name(generator), *_detail(traced, result["metrics"])])
            title = f"{page.escape(run.label)}, {decoding(temperature)}"
            head = (*_DETAIL, *(_TRACE_DETAIL if traced else ()))
            parts.append(f"<h3>{title}</h3>{page.table(head, rows, 'dense')}")
    return "".join(parts)


def _detail(traced: bool, metrics: dict[str, Any]) -> list[str]:
    shares = [metrics[name] for name in ("plan_valid", "optimal", "truncated")]
    if traced:
        shares += [metrics["trace_valid"][level] for level in ("reference", "strict", "exact")]
        shares.append(metrics["trace_valid_within_valid_plans"]["reference"])
    pearson = metrics["lengths"]["pearson"]
    correlation = (
        [] if not traced else ["–" if pearson is None else f"{round(pearson, 2) + 0.0:.2f}"]
    )
    texts = [Share(**share).text() for share in shares]
    return [str(metrics["plan_valid"]["n"]), *texts, *correlation]


def scope(runs: Sequence[RunRecord]) -> str:
    """What the numbers are of, in one paragraph."""
    documents = [run.evaluation for run in runs if run.evaluation is not None]
    if not documents:
        return "No evaluation yet: <code>jaxreason evaluate RUN</code> adds the tables."
    first = documents[0]
    width, height = first["width"], first["height"]
    text = (
        f"{len(runs)} {'run' if len(runs) == 1 else 'runs'} on {width}×{height} mazes, judged by "
        f"exact validators on problems of the {page.escape(first['settings']['split'])} split. "
        "A plan is valid if it walks from start to goal over free neighbours; a trace is valid "
        "if it is a correct run of A*. "
    )
    if (width, height) != (PAPER_SIDE, PAPER_SIDE):
        text += (
            f"The paper's mazes are {PAPER_SIDE}×{PAPER_SIDE} and its model has about a third of a "
            "billion parameters; numbers at this size show the effect of the regime here and "
            "are not to be compared with the paper's."
        )
    return text


def skipped(runs: Sequence[RunRecord]) -> str:
    """Generators that could not be evaluated, and why."""
    reasons = {
        f"{generator_name(item['generator'])}: {page.escape(item['reason'])}"
        for run in runs
        if run.evaluation is not None
        for item in run.evaluation["skipped"]
    }
    return f'<p class="note">Not evaluated: {"; ".join(sorted(reasons))}.</p>' if reasons else ""

"""Rows as a table: for a terminal, and in Markdown under what they were measured on."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from suite import Row

LOAD_PER_CORE = 1.75
"""Above this load average per core no goal is judged."""

HEAD = ("what", "ours", "peer", "peer's", "times as fast", "goal")


def number(value: float | None) -> str:
    """Three significant digits, thousands apart."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def figure(value: float | None, unit: str) -> str:
    """A number with its unit."""
    return f"{number(value)} {unit}".strip() if value is not None else ""


def shown_ratio(row: Row) -> str:
    """The ratio with its quartiles, or why there is none."""
    if row.ratio is None:
        return f"not installed: `{row.missing}`" if row.missing else ""
    if row.quartiles is None:
        return f"{row.ratio:.2f}"
    low, high = row.quartiles
    return f"{row.ratio:.2f} ({low:.2f} to {high:.2f})"


def shown_goal(row: Row, judged: bool = True) -> str:
    """The goal, and whether it is met where that may be judged."""
    if row.at_least is not None:
        goal = f"{row.at_least:g} times as fast"
    elif row.value_at_least is not None:
        goal = f"at least {figure(row.value_at_least, row.unit)}"
    elif row.at_most is not None:
        goal = f"at most {figure(row.at_most, row.unit)}"
    else:
        return ""
    if not judged:
        return f"{goal}, not judged under this load"
    return goal + {True: ", met", False: ", **not met**", None: ""}[row.met]


def cells(row: Row, judged: bool = True) -> tuple[str, ...]:
    """The row's cells under `HEAD`."""
    case = f"{row.case} ({row.note})" if row.note else row.case
    return (
        case,
        figure(row.value, row.unit),
        row.peer,
        figure(row.peer_value, row.unit),
        shown_ratio(row),
        shown_goal(row, judged),
    )


def console_table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    table = Table(*HEAD)
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in cells(row)))
    return table


def quiet(report: dict[str, Any], name: str) -> bool:
    """Whether a benchmark began with little else running; the suite itself is a load of one."""
    load = report["benchmarks"][name]["load_average_at_start"]
    return load <= LOAD_PER_CORE * report["processor"]["cores"]


def markdown(report: dict[str, Any]) -> str:
    """The whole report as Markdown."""
    processor = report["processor"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    flags = ", ".join(processor["flags"])
    kind = "Benchmarks, quick: small shapes and few rounds" if report["quick"] else "Benchmarks"
    lines = [
        f"# {kind}",
        "",
        f"Commit {report['commit']}, {report['date']}. {versions}.",
        "",
        f"{processor['model']}, {processor['cores']} cores ({flags}); devices of JAX: "
        f"{', '.join(report['devices'])}; peers with {report['peer_threads']} threads. Load "
        f"average at start {report['load_average_at_start']}, seed {report['seed']}.",
        "",
        "Ours and peers took turns; figures are medians over rounds, ratios the median of the "
        "rounds' ratios (quartiles in brackets): above 1, ours is faster.",
    ]
    loaded = [name for name in report["benchmarks"] if not quiet(report, name)]
    if loaded:
        lines += [
            "",
            f"**Other work kept the machine busy (load above {LOAD_PER_CORE:g} per core at the "
            f"start of {', '.join(loaded)}).** That does not hit all alike: threads of torch wait "
            "for each other at every operation and lose far more than XLA's, so such ratios say "
            "little, and no goal is judged by them.",
        ]
    for name, found in report["benchmarks"].items():
        lines += ["", f"## {name}", ""]
        lines += [f"Load average at start {found['load_average_at_start']}, {found['seconds']} s."]
        if "failed" in found:
            lines += ["", f"Failed: {found['failed']}."]
        judged = quiet(report, name)
        if found["rows"]:
            lines += ["", "| " + " | ".join(HEAD) + " |", "| " + " | ".join(["---"] * 6) + " |"]
            lines += ["| " + " | ".join(cells(Row(**row), judged)) + " |" for row in found["rows"]]
    return "\n".join(lines) + "\n"

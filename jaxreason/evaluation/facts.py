"""What the runs of a report were."""

import json
from collections.abc import Sequence
from typing import Any

from jaxreason.evaluation import page
from jaxreason.evaluation.runs import GENERATOR_LABELS, RunRecord

PARTS = ("compile", "data", "step", "checkpoint", "evaluation", "other")
_PART_COLORS = ("#a06fae", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#8a93a0")


def facts(runs: Sequence[RunRecord]) -> str:
    """What each run was: size, tokens, time, machine, command, seeds; its whole config."""
    known = [run_facts(run) for run in runs]
    rows = [
        [page.escape(name), *(page.escape(column[name] or "–") for column in known)]
        for name in known[0]
        if any(column[name] for column in known)
    ]
    times = [run.summary.get("seconds") or _last_time(run) for run in runs]
    if any(times):
        bars = [
            page.split_bar({name: float(spent.get(name, 0.0)) for name in PARTS}, _PART_COLORS)
            if spent
            else "–"
            for spent in times
        ]
        rows.append(["Wall time of training<br>(since the last resume)", *bars])
    head = ["", *(page.regime(run.regime, page.escape(run.label)) for run in runs)]
    configs = "".join(
        f"<details><summary>{page.escape(run.label)}: config.json</summary>"
        f"<pre>{page.escape(json.dumps(run.config, indent=2))}</pre></details>"
        for run in runs
    )
    return page.table(head, rows, "facts") + configs


def _last_time(run: RunRecord) -> dict[str, Any]:
    times = [row["time"] for row in run.rows if "time" in row]
    return times[-1] if times else {}


def run_facts(run: RunRecord) -> dict[str, str]:
    """Facts of a run by name, as text; "" where unknown."""
    document = run.evaluation or {}
    environment = document.get("environment", {})
    settings = document.get("settings", {})
    tokens = run.summary.get("tokens") or next(
        (row["tokens"] for row in reversed(run.rows) if "tokens" in row), None
    )
    rates = [row["time"]["tokens_per_second"] for row in run.rows if "learning_rate" in row]
    data, train = run.config.get("data", {}), run.config.get("train", {})
    size = f"{document['width']}×{document['height']} cells" if document else ""
    return {
        "Run": run.directory.resolve().name,
        "Mazes": ", ".join(
            text
            for text in (
                GENERATOR_LABELS.get(data.get("generator", ""), ""),
                size,
                f"{data['count']:,} training problems" if "count" in data else "",
            )
            if text
        ),
        "Parameters": f"{document['parameters']:,}" if document.get("parameters") else "",
        "Training tokens": f"{tokens:,}" if tokens else "",
        "Checkpoint step": str(document.get("step") or run.summary.get("step") or ""),
        "Training speed": f"{sorted(rates)[len(rates) // 2]:,.0f} tokens/s (median)"
        if rates
        else "",
        "Training device": " × ".join(
            str(run.summary[key]) for key in ("devices", "device_kind") if key in run.summary
        ),
        "Evaluation device": str(environment.get("device", "")),
        "Evaluation time": f"{sum(document['seconds'].values()):,.0f} s" if document else "",
        "Evaluation": ", ".join(
            f"{key.replace('_', ' ')} {settings[key]}"
            for key in ("split", "count", "samples", "seed", "max_new_tokens")
            if key in settings
        ),
        "Evaluation command": str(environment.get("command", "")),
        "Seeds": ", ".join(
            f"{name} {group['seed']}"
            for name, group in (("data", data), ("training", train))
            if "seed" in group
        ),
        "Versions": ", ".join(
            f"{key} {environment[key]}"
            for key in ("jaxreason", "jax", "python")
            if key in environment
        ),
    }

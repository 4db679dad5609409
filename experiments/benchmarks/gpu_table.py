"""The figures of `gpu.py` as Markdown."""

from collections.abc import Mapping
from typing import Any

from table import number

TRAINING = ("variant", "ms/step", "tokens/s", "MFU", "state", "temporaries", "torch", "ratio")
DECODING = ("variant", "ms/step", "tokens/s", "bound by memory", "times slower", "measured copy")


def gib(count: float) -> str:
    """Bytes in GiB."""
    return f"{count / 2**30:.1f} GiB"


def lines(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    body = [head, ("---",) * len(head), *rows]
    return ["", *("| " + " | ".join(row) + " |" for row in body)]


def goal(case: str, goals: Mapping[str, Mapping[str, float]], name: str, value: float) -> str:
    """The goal of a case, and whether the value meets it; "" without one."""
    wanted = goals.get(case, {}).get(name)
    if wanted is None:
        return ""
    met = value >= wanted if name == "mfu" else value <= wanted
    shown = f"at least {wanted:.0%}" if name == "mfu" else f"at most {wanted:g}"
    return f" ({shown}: {'met' if met else '**not met**'})"


def training_row(found: Mapping[str, Any], goals: Mapping[str, Any]) -> tuple[str, ...]:
    """One variant of training."""
    name = found["case"]["name"]
    mfu = "peak unknown"
    if found["mfu"] is not None:
        mfu = f"{found['mfu']:.1%}" + goal(name, goals, "mfu", found["mfu"])
    peer, ratio = "", ""
    if "peer_seconds_per_step" in found:
        peer = f"{1e3 * found['peer_seconds_per_step']:.1f} ms on {found['peer_device']}"
        ratio = f"{found['peer_seconds_per_step'] / found['seconds_per_step']:.2f}"
    elif "peer_missing" in found:
        peer = f"not installed: `{found['peer_missing']}`"
    elif "peer_failed" in found:
        peer = f"failed: {found['peer_failed']}"
    return (
        name,
        f"{1e3 * found['seconds_per_step']:.1f}",
        number(found["tokens_per_second"]),
        mfu,
        gib(found["state_bytes"]),
        gib(found["temporary_bytes"]),
        peer,
        ratio,
    )


def decoding_row(found: Mapping[str, Any], goals: Mapping[str, Any]) -> tuple[str, ...]:
    """One variant of decoding."""
    name, slower = found["case"]["name"], found["times_slower_than_bound"]
    per_step, shown = found["seconds_per_step"], "unknown"
    if slower is not None:
        shown = f"{slower:.2f}" + goal(name, goals, "bound", slower)
    return (
        name,
        "lost in noise" if per_step is None else f"{1e3 * per_step:.2f}",
        number(found["tokens_per_second"]),
        number(found["bound_tokens_per_second"]),
        shown,
        f"{found['measured_bandwidth'] / 1e12:.3f} TB/s",
    )


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    title = "One GPU: a test at tiny size, no measurement" if report["smoke"] else "One GPU"
    text = [f"# {title}", "", f"Commit {report['commit']}, {report['date']}. {versions}.", ""]
    text += [f"{', '.join(report['devices'])}; {report['processor']['model']}."]
    goals = {} if report["smoke"] else report["goals"]
    done = [found for found in report["cases"] if "failed" not in found]
    for kind, head, row in (
        ("training", TRAINING, training_row),
        ("decoding", DECODING, decoding_row),
    ):
        rows = [row(found, goals) for found in done if found["case"]["kind"] == kind]
        text += lines(head, rows) if rows else []
    unlike = [found for found in done if found.get("peer_differs")]
    if unlike:
        text += ["", "Beside torch:", ""]
        text += [
            f"- {found['case']['name']}: {'; '.join(found['peer_differs'])}" for found in unlike
        ]
    for found in done:
        if found.get("largest_costs"):
            text += ["", f"Largest costs of {found['case']['name']}, shares of device time:", ""]
            text += [f"- {x['share']:.1%} `{x['name']}`" for x in found["largest_costs"]]
    failed = [found for found in report["cases"] if "failed" in found]
    if failed:
        text += [""] + [f"- {found['case']['name']}: {found['failed']}" for found in failed]
    return "\n".join(text) + "\n"

"""What `jaxreason mazes validate` reports over a file of responses."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from jaxreason.mazes.validation import Verdict


@dataclass
class Summary:
    """Counts over verdicts, at one level.

    Attributes:
        level: the level of the trace verdicts.
        count: responses.
        with_trace: responses with at least one event.
        optimal: responses with a shortest plan.
        pairs: (trace valid, plan valid) to count.
        trace_errors: first error to count.
        plan_errors: likewise for plans.
    """

    level: str
    count: int = 0
    with_trace: int = 0
    optimal: int = 0
    pairs: Counter = field(default_factory=Counter)
    trace_errors: Counter = field(default_factory=Counter)
    plan_errors: Counter = field(default_factory=Counter)

    def add(self, verdict: Verdict) -> None:
        """Counts one verdict."""
        trace = verdict.trace(self.level)
        self.count += 1
        self.with_trace += verdict.has_trace
        self.optimal += verdict.optimal
        self.pairs[trace.valid, verdict.plan_valid] += 1
        if not trace.valid:
            self.trace_errors[trace.first_error] += 1
        if not verdict.plan_valid:
            self.plan_errors[verdict.plan_error] += 1

    @property
    def plans_valid(self) -> int:
        """Responses with a valid plan."""
        return self.pairs[True, True] + self.pairs[False, True]

    @property
    def traces_valid(self) -> int:
        """Responses with a valid trace."""
        return self.pairs[True, True] + self.pairs[True, False]

    def as_dict(self) -> dict[str, Any]:
        """The counts under the names the JSON output uses."""
        return {
            "level": self.level,
            "count": self.count,
            "with_trace": self.with_trace,
            "plan_valid": self.plans_valid,
            "plan_optimal": self.optimal,
            "trace_valid": self.traces_valid,
            "trace_valid_plan_valid": self.pairs[True, True],
            "trace_valid_plan_invalid": self.pairs[True, False],
            "trace_invalid_plan_valid": self.pairs[False, True],
            "trace_invalid_plan_invalid": self.pairs[False, False],
            "first_trace_errors": dict(self.trace_errors.most_common()),
            "plan_errors": dict(self.plan_errors.most_common()),
        }


def print_summary(summary: Summary) -> None:
    """Prints the summary as tables, shares of all responses beside the counts."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    def share(count: int, whole: int) -> str:
        return f"{100 * count / whole:.1f} %" if whole else "-"

    console = Console()
    table = Table(box=box.SIMPLE_HEAD, title=f"{summary.count} responses, level {summary.level}")
    table.add_column("", style="bold")
    table.add_column("count", justify="right")
    table.add_column("share", justify="right")
    within = summary.pairs[True, True]
    for name, count, whole in (
        ("plan valid", summary.plans_valid, summary.count),
        ("plan optimal", summary.optimal, summary.count),
        ("trace valid", summary.traces_valid, summary.count),
        ("trace valid within valid plans", within, summary.plans_valid),
        ("with a trace at all", summary.with_trace, summary.count),
    ):
        table.add_row(name, str(count), share(count, whole))
    console.print(table)
    square = Table(box=box.SIMPLE_HEAD)
    for name in ("", "plan valid", "plan invalid"):
        square.add_column(name, style="bold" if not name else None, justify="right")
    for valid in (True, False):
        cells = [str(summary.pairs[valid, plan]) for plan in (True, False)]
        square.add_row("trace valid" if valid else "trace invalid", *cells)
    console.print(square)
    for title, errors in (
        ("first trace error", summary.trace_errors),
        ("plan error", summary.plan_errors),
    ):
        if errors:
            table = Table(box=box.SIMPLE_HEAD)
            for name in (title, "count", "share"):
                table.add_column(name, justify="left" if name == title else "right")
            table.add_column("")
            for code, count in errors.most_common():
                bar = "█" * max(1, round(30 * count / max(errors.values())))
                table.add_row(code, str(count), share(count, summary.count), f"[red]{bar}[/]")
            console.print(table)

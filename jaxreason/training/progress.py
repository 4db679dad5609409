"""What a person sees while a run goes on: one live line on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any


def format_duration(seconds: float) -> str:
    """`1:02:03`, `2:03`, or `0:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_row(row: Mapping[str, Any], steps: int) -> str:
    """One line of text for a row of metrics."""
    width = len(str(steps))
    parts = [f"step {row['step']:>{width}}/{steps}"]
    if "evaluation" in row:
        # The four cells of a table belong in the file; here they would fill the line.
        shown = {name: x for name, x in row["evaluation"].items() if "valid_plan_" not in name}
        parts += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items()]
        return "  ".join(parts)
    for name in ("loss", "accuracy", "reward", "gradient_norm"):
        if row.get(name) is not None:
            parts.append(f"{name.replace('_', ' ')} {row[name]:.4f}")
    if row.get("skipped"):
        parts.append(f"skipped {row['skipped']}")
    clock = row["time"]
    parts.append(f"{clock['tokens_per_second']:,.0f} tokens/s")
    if clock.get("mfu") is not None:
        parts.append(f"MFU {100 * clock['mfu']:.1f} %")
    parts.append(f"ETA {format_duration(clock['eta'])}")
    return "  ".join(parts)


class Progress:
    """Shows rows as they come, on standard error; only the first process should show any.

    Args:
        steps: the last step of the run.
        enabled: False shows nothing.
        every: seconds between two plain lines where there is no terminal.
    """

    def __init__(self, steps: int, enabled: bool = True, every: float = 10.0) -> None:
        self._steps = steps
        self._enabled = enabled
        self._every = every
        self._shown = float("-inf")
        self._live: Any = None
        if enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4)
            self._live.start()

    def show(self, row: Mapping[str, Any]) -> None:
        """Show a row of metrics; evaluations and the last step are always shown."""
        if not self._enabled:
            return
        text = format_row(row, self._steps)
        lasting = "evaluation" in row
        if self._live is not None:
            if lasting:
                self._live.console.print(text)
            else:
                self._live.update(text)
            return
        now = time.monotonic()
        if lasting or row["step"] == self._steps or now - self._shown >= self._every:
            print(text, file=sys.stderr, flush=True)
            self._shown = now

    def note(self, text: str) -> None:
        """Show a line that stays, such as a warning."""
        if self._live is not None:
            self._live.console.print(text)
        elif self._enabled:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()

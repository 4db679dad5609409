"""A bar that counts weights, on a terminal's standard error only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def weights_bar(total: int) -> Iterator[Any]:
    """Gives a function of a tensor's name and size, or None where there is no terminal.

    Args:
        total: number of weights of all tensors.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[dim]{task.description}", justify="left"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=total)
        yield lambda name, size: progress.update(task, advance=size, description=name)

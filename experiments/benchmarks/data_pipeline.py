"""How fast one core feeds training batches of mazes, and how full they are.

Command: `python experiments/benchmarks/data_pipeline.py --output data_pipeline.json`
Hardware: any CPU; all work is in one thread (no prefetch). Wall time: about a minute.
Expected: over 300,000 tokens/s with generation, A*, encoding and packing of 30x30 Wilson mazes;
packing fills more than 99 % of rows of 8,192, padding about 37 %.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from jaxreason.data import MazeData, maze_source, prepare, training_batches


@dataclass(frozen=True)
class Row:
    """One measurement; `tokens_per_second` counts tokens of mazes, not padding."""

    mazes: str
    regime: str
    examples: str
    packing: str
    length: int
    tokens_per_second: float
    examples_per_second: float
    fill: float


def measure(
    data: MazeData, examples: str, packing: str, length: int, batch_size: int, seconds: float
) -> Row:
    """Runs one pipeline for `seconds` after its first batch (compilation, full window).

    `examples` is "generated" or "prepared" (each encoded anew), or "cached" (second epoch on).
    """
    with tempfile.TemporaryDirectory() as directory:
        if examples == "prepared":
            prepare(data, directory, validation=0, test=0)
        source = maze_source(
            data,
            directory if examples == "prepared" else None,
            cache_bytes=2**28 if examples == "cached" else 0,
        )
        if examples == "cached":
            for index in range(len(source)):
                source[index]
        iterator = iter(
            training_batches(
                source,
                pad_id=source.vocabulary.pad,
                prefetch=0,
                batch_size=batch_size,
                length=length,
                packing=packing,
            )
        )
        next(iterator)
        before, start = iterator.get_state(), time.perf_counter()
        while time.perf_counter() - start < seconds:
            next(iterator)
        after, elapsed = iterator.get_state(), time.perf_counter() - start
    difference = {name: after[name] - before[name] for name in ("tokens", "slots", "examples")}
    return Row(
        f"{data.generator} {data.width}x{data.height}",
        data.regime,
        examples,
        packing,
        length,
        difference["tokens"] / elapsed,
        difference["examples"] / elapsed,
        difference["tokens"] / difference["slots"],
    )


def rows(seconds: float) -> Iterator[Row]:
    """The measurements of the table."""
    large = {"count": 4_000, "width": 30, "height": 30}
    for packing in ("packed", "buckets", "padded"):
        yield measure(MazeData(**large), "generated", packing, 8192, 8, seconds)
    for generator in ("kruskal", "dfs", "drunkards_walk", "searchformer", "free_space"):
        data = MazeData(generator=generator, **large)
        # Without walls A* may visit every cell: up to 10,000 tokens.
        length = 16384 if generator == "free_space" else 8192
        yield measure(data, "generated", "packed", length, 8, seconds)
    swapped = MazeData(regime="swapped", **large)
    for examples in ("generated", "prepared", "cached"):
        yield measure(swapped, examples, "packed", 8192, 8, seconds)
    small = MazeData(count=4_000, width=7, height=7)
    for examples in ("generated", "prepared", "cached"):
        yield measure(small, examples, "packed", 512, 64, seconds)


def main(seconds: float = 4.0, output: Path | None = None) -> None:
    """Prints a table and JSON.

    Args:
        seconds: per measurement.
        output: file for the JSON; standard output if not given.
    """
    table = Table(title="Training batches on one core")
    for column in ("mazes", "regime", "examples", "packing", "length"):
        table.add_column(column)
    for column in ("tokens/s", "examples/s", "fill"):
        table.add_column(column, justify="right")
    results = []
    for row in rows(seconds):
        results.append(asdict(row))
        table.add_row(
            row.mazes,
            row.regime,
            row.examples,
            row.packing,
            f"{row.length:,}",
            f"{row.tokens_per_second:,.0f}",
            f"{row.examples_per_second:,.0f}",
            f"{row.fill:.1%}",
        )
    Console(stderr=True, width=110).print(table)
    report = json.dumps(
        {
            "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
            "python": platform.python_version(),
            "rows": results,
        },
        indent=2,
    )
    if output is None:
        print(report)
    else:
        output.write_text(report + "\n")


if __name__ == "__main__":
    tyro.cli(main)

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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from plain_pipeline import plain_batches
from rich.console import Console
from rich.table import Table
from suite import Contestant, Peer, Row, against, take_turns

from jaxreason.data import MazeData, maze_source, prepare, training_batches


@dataclass(frozen=True)
class Pipeline:
    """One measurement; `tokens_per_second` counts tokens of mazes, not padding."""

    mazes: str
    regime: str
    examples: str
    packing: str
    length: int
    tokens_per_second: float
    examples_per_second: float
    fill: float


def run_pipeline(
    data: MazeData, examples: str, packing: str, length: int, batch_size: int, seconds: float
) -> Pipeline:
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
    return Pipeline(
        f"{data.generator} {data.width}x{data.height}",
        data.regime,
        examples,
        packing,
        length,
        difference["tokens"] / elapsed,
        difference["examples"] / elapsed,
        difference["tokens"] / difference["slots"],
    )


def rows(seconds: float) -> Iterator[Pipeline]:
    """The measurements of the table."""
    large = {"count": 4_000, "width": 30, "height": 30}
    for packing in ("packed", "buckets", "padded"):
        yield run_pipeline(MazeData(**large), "generated", packing, 8192, 8, seconds)
    for generator in ("kruskal", "dfs", "drunkards_walk", "searchformer", "free_space"):
        data = MazeData(generator=generator, **large)
        # Without walls A* may visit every cell: up to 10,000 tokens.
        length = 16384 if generator == "free_space" else 8192
        yield run_pipeline(data, "generated", "packed", length, 8, seconds)
    swapped = MazeData(regime="swapped", **large)
    for examples in ("generated", "prepared", "cached"):
        yield run_pipeline(swapped, examples, "packed", 8192, 8, seconds)
    small = MazeData(count=4_000, width=7, height=7)
    for examples in ("generated", "prepared", "cached"):
        yield run_pipeline(small, examples, "packed", 512, 64, seconds)


def per_million(tokens_of_next: Callable[[], int], least: int) -> Contestant:
    """Seconds per million tokens, from at least so many tokens a turn."""

    def run(times: int) -> float:
        made, start = 0, time.perf_counter()
        while made < least * times:
            made += tokens_of_next()
        return (time.perf_counter() - start) * 1e6 * times / made

    return run


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite: batches generated on the fly in one thread, against plain Python."""
    del peer  # plain Python is its own
    plain, contestants = plain_batches(8, 8192), {}
    name = "plain Python, dict of words, padded"
    contestants[name] = per_million(lambda: next(plain)[1], 40_000 if quick else 200_000)
    for packing in ("packed", "buckets", "padded"):
        source = maze_source(MazeData(count=4_000, width=30, height=30), None)
        fields = {"batch_size": 8, "length": 8192, "packing": packing}
        batches = iter(training_batches(source, pad_id=source.vocabulary.pad, prefetch=0, **fields))
        contestants[packing] = per_million(
            lambda batches=batches: int((next(batches)["segments"] > 0).sum()),  # type: ignore[misc]
            1_000_000 if quick else 4_000_000,
        )
    seconds = take_turns(contestants, 3 if quick else 7)
    fixed = {"benchmark": "data_pipeline", "unit": "maze tokens/s"}
    rows = []
    for packing in ("packed", "buckets", "padded"):
        case = f"30x30 Wilson generated, solved, encoded, {packing}, rows of 8,192, one thread"
        rows += against(seconds, packing, [name], 1e6, case=case, **fixed)
    return rows


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

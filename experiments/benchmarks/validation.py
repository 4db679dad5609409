"""Trace validations per second, on one core, warm-up excluded.

    python experiments/benchmarks/validation.py [--count 300] [--out FILE.json]

30x30 Wilson responses at every level of `jaxreason.mazes.validation`, read from words and from
token ids, next to the authors' rules written out literally with lists and linear scans (the oracle
of the tests), in the same run on the same core. Correct and swapped traces are measured apart, and
the slowest single response is given. Time is the processor's, not the clock's, so that other work
on the machine does not count. Takes about half a minute.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table
from suite import Peer, Row, against, contestant, take_turns

from jaxreason.mazes import MazeConfig, Problem, Trace, generate_solved_batch, to_text
from jaxreason.mazes.validation import LEVELS, judge, read_ids, validate_trace
from jaxreason.tokens.maze_vocabulary import MazeVocabulary

SIZE = 30
REPEATS = 3
SLOW_COUNT = 40
LITERAL = "the authors' rules with lists and linear scans"

Pair = tuple[Problem, Any]


def slow_errors() -> Callable[[Problem, Sequence[str]], list[str]]:
    """The literal validator, which lives with the tests."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "mazes"))
    import slow_reference

    return slow_reference.slow_errors


def responses(count: int) -> dict[str, list[Pair]]:
    """(problem, words) pairs: correct ones, and each with the next one's trace."""
    batch = generate_solved_batch(MazeConfig("wilson", SIZE, SIZE), 0, range(count))
    solved = [batch[place] for place in range(count)]
    kinds: dict[str, list[Pair]] = {"correct": [], "swapped": []}
    for place, (problem, trace) in enumerate(solved):
        donor = solved[(place + 1) % count][1]
        swapped = Trace(donor.events, trace.plan)
        for kind, told in (("correct", trace), ("swapped", swapped)):
            text = to_text(problem, told)
            kinds[kind].append((problem, text.split(" reasoning ")[1].split()))
    return kinds


def timing(function: Callable, pairs: list[Pair], repeats: int = REPEATS) -> dict[str, float]:
    """Responses per second (best of the repeats) and milliseconds of the slowest response.

    The slowest one is judged by its own best time of the repeats.
    """
    best = [float("inf")] * len(pairs)
    totals = []
    for _ in range(repeats):
        total = 0.0
        for place, pair in enumerate(pairs):
            begin = time.thread_time()
            function(*pair)
            seconds = time.thread_time() - begin
            best[place] = min(best[place], seconds)
            total += seconds
        totals.append(total)
    return {"per_second": len(pairs) / min(totals), "slowest_ms": 1e3 * max(best)}


def rows(count: int) -> list[dict[str, Any]]:
    """All measurements."""
    vocabulary = MazeVocabulary(SIZE, SIZE)
    slow, results = slow_errors(), []
    for kind, pairs in responses(count).items():
        ids = [(problem, vocabulary.encode(" ".join(words))) for problem, words in pairs]
        ways: dict[str, tuple[Callable, list[Pair], int]] = {
            "literal rules": (slow, pairs[:SLOW_COUNT], 1),
        }
        for level in LEVELS:
            ways[f"{level}, words"] = (
                lambda problem, words, level=level: validate_trace(problem, words, level),
                pairs,
                REPEATS,
            )
        for level in LEVELS:
            ways[f"{level}, ids"] = (
                lambda problem, ids, level=level: validate_trace(
                    problem, read_ids(ids, vocabulary.words), level
                ),
                ids,
                REPEATS,
            )
        ways["judge (all levels, plan), words"] = (judge, pairs, REPEATS)
        for name, (function, arguments, repeats) in ways.items():
            function(*arguments[0])  # compiles
            results.append(
                {"traces": kind, "validator": name, **timing(function, arguments, repeats)}
            )
    return results


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite: ours from words and ids against the rules written out, in turns."""
    del peer  # the rules written out are Python, too
    one_core()
    count = 40 if quick else 300
    literal, vocabulary, rows = slow_errors(), MazeVocabulary(SIZE, SIZE), []
    for kind, pairs in responses(count).items():
        ids = [(problem, vocabulary.encode(" ".join(words))) for problem, words in pairs]
        validate_ids = partial(from_ids, vocabulary.words)
        seconds = take_turns(
            {
                "words": contestant(partial(every, from_words, pairs)),
                "token ids": contestant(partial(every, validate_ids, ids)),
                LITERAL: contestant(partial(every, literal, pairs)),
            },
            REPEATS if quick else 7,
        )
        for form in ("words", "token ids"):
            rows += against(
                seconds,
                form,
                [LITERAL],
                count,
                benchmark="validation",
                case=f"{kind} traces, {SIZE}x{SIZE} Wilson, level reference, from {form}, one core",
                unit="traces/s",
                value_at_least=1000.0,
            )
    return rows


def every(function: Callable, pairs: list[Pair]) -> None:
    """Validates each response."""
    for pair in pairs:
        function(*pair)


def from_words(problem: Problem, words: Sequence[str]) -> Any:
    """The level `reference` from words."""
    return validate_trace(problem, words, "reference")


def from_ids(words: tuple[str, ...], problem: Problem, ids: Any) -> Any:
    """The level `reference` from token ids."""
    return validate_trace(problem, read_ids(ids, words), "reference")


def one_core() -> None:
    """Stay on one core, for this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main(
    count: int = 300, out: Path = Path(__file__).parent / "results" / "validation.json"
) -> None:
    """Measures, writes the JSON file, prints table and JSON.

    Args:
        count: responses of each kind.
        out: file to write.
    """
    one_core()
    measured = rows(count)
    table = Table(title=f"trace validations on one core, {SIZE}x{SIZE} Wilson")
    for name in ("traces", "validator", "per second", "slowest ms", "times literal"):
        table.add_column(name, justify="left" if name in ("traces", "validator") else "right")
    base = {row["traces"]: row["per_second"] for row in measured if "literal" in row["validator"]}
    for row in measured:
        row["times_literal"] = row["per_second"] / base[row["traces"]]
        numbers = (f"{row['per_second']:,.0f}", f"{row['slowest_ms']:.2f}")
        table.add_row(row["traces"], row["validator"], *numbers, f"{row['times_literal']:.1f}")
    report = {
        "size": SIZE,
        "count": count,
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": measured,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    Console().print(table)
    print(json.dumps(report))


if __name__ == "__main__":
    tyro.cli(main)

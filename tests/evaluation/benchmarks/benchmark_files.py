"""Small files in the official layouts of benchmarks."""

import csv
import json
from pathlib import Path

GSM8K = [
    {
        "question": f"A train goes {miles} miles in one hour; how many in three hours?",
        "answer": f"It goes 3*{miles}=<<3*{miles}={3 * miles}>>{3 * miles} miles.\n"
        f"#### {3 * miles:,}",
    }
    for miles in (*range(1, 12), 500)
]
MATH500 = [
    {
        "problem": f"What is $\\frac{{{top}}}{{4}}$ of 2?",
        "solution": f"It is $\\boxed{{\\frac{{{top}}}{{2}}}}$.",
        "answer": f"\\frac{{{top}}}{{2}}",
        "subject": "Prealgebra",
        "level": 1,
        "unique_id": f"test/prealgebra/{top}.json",
    }
    for top in range(1, 7)
]
MMLU = {
    "anatomy": [
        ("Which is a bone?", "the femur", "the liver", "the skin", "the eye", "A"),
        ("Where is the heart, \nroughly?", "in the hand", "in the chest", "a, b", "none", "B"),
    ],
    "high_school_physics": [
        ("What is the unit of force?", "the watt", "the joule", "the newton", "the volt", "C"),
    ],
}


def write_lines(path: Path, rows: list[dict]) -> str:
    """A file of JSON lines; returns its name."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_mmlu(folder: Path, split: str, times: int = 1) -> str:
    """The authors' folder of CSV files; returns its name."""
    folder.mkdir()
    for subject, rows in MMLU.items():
        with (folder / f"{subject}_{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows * times)
    return str(folder)

"""Run directories with known contents, made without training."""

import json
from pathlib import Path

from scripted import Answer, scripted

from jaxreason.evaluation.documents import dump
from jaxreason.evaluation.pipeline import evaluate
from jaxreason.evaluation.settings import EvaluationSettings, draw_problems
from jaxreason.mazes import MazeConfig, Problem, Trace
from jaxreason.tokens import MazeVocabulary


def answers(vocabulary: MazeVocabulary, regime: str) -> Answer:
    """Every other problem solved; the trace true, absent, or that of nobody."""
    seen: dict[bytes, bool] = {}

    def answer(problem: Problem, trace: Trace, number: int):
        solved = seen.setdefault(problem.digest(), len(seen) % 2 == 0)
        events = {"correct": trace.events, "swapped": trace.events[::-1], "solution_only": None}
        return vocabulary.encode_completion(
            events[regime], trace.plan if solved else trace.plan[:1]
        )

    return answer


def write_run(folder: Path, regime: str, size: int = 6, count: int = 6, evaluated: bool = True):
    """A run directory with config, metrics, summary and one evaluation; returns the folder."""
    folder.mkdir(parents=True)
    data = {"generator": "wilson", "width": size, "height": size, "count": 99, "regime": regime}
    (folder / "config.json").write_text(json.dumps({"data": data, "train": {"seed": 3}}))
    time = {"tokens_per_second": 100.0, "step": 5.0, "wall": 6.0}
    rows = [
        {"step": 10, "loss": 2.0, "accuracy": 0.4, "tokens": 640, "learning_rate": 1, "time": time},
        {"step": 10, "evaluation": {"validation_loss": 2.1, "validation_accuracy": 0.3}},
        {
            "step": 20,
            "loss": 1.0,
            "accuracy": 0.6,
            "tokens": 1280,
            "learning_rate": 1,
            "time": time,
        },
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {"step": 20, "tokens": 1280, "devices": 1, "device_kind": "cpu", "seconds": time}
    (folder / "summary.json").write_text(json.dumps(summary))
    if evaluated:
        vocabulary, maze = MazeVocabulary(size, size), MazeConfig("wilson", size, size)
        settings = EvaluationSettings(count=count)
        make = scripted(vocabulary, draw_problems(settings, maze)[0], answers(vocabulary, regime))
        document = evaluate(
            None,
            {},
            vocabulary,
            maze,
            settings,
            regime=regime,
            run=folder.name,
            name="step-20",
            step=20,
            make_sampler=make,
        )
        (folder / "evaluation").mkdir()
        (folder / "evaluation" / "step-20.json").write_text(dump(document))
    return folder

"""Tiny language models, data files and experiments for tests of language training."""

import dataclasses
import json

from tiny_models import write_tiny_model

from jaxreason.data import BatchConfig
from jaxreason.data.language import DataConfig
from jaxreason.training.language import (
    LanguagePreference,
    LanguageReinforcement,
    LanguageSupervised,
)
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig

OPTIMIZER = OptimizerConfig(1e-2, 0, 20, weight_decay=0.0, schedule="constant")


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def make_files(folder):
    """A base with a model of one layer, and prompts, conversations, preferences and labels."""
    write_tiny_model(folder / "base", layers=1)
    asked = [f"{i}+{i}=" for i in range(12)]
    answers = [str(2 * i) for i in range(12)]
    pairs = list(zip(asked, answers, strict=True))
    write_lines(
        folder / "prompts.jsonl", [{"question": q, "answer": f"#### {a}"} for q, a in pairs]
    )
    write_lines(folder / "chats.jsonl", [{"prompt": q, "completion": a} for q, a in pairs])
    rows = [{"prompt": q, "chosen": a, "rejected": "no"} for q, a in pairs]
    write_lines(folder / "pairs.jsonl", rows)
    labelled = [
        {"prompt": q, "completion": a if i % 2 else "no", "label": bool(i % 2)}
        for i, (q, a) in enumerate(pairs)
    ]
    write_lines(folder / "labels.jsonl", labelled)
    return folder


def trained(folder, steps, experiment, **fields):
    train = TrainConfig(steps=steps, log_every=1, evaluate_every=2)
    common = {"base": str(folder / "base"), "held_out": 4, "train": train, "optimizer": OPTIMIZER}
    return dataclasses.replace(experiment, **{**common, **fields})


def grpo(folder, steps=3, **fields):
    experiment = LanguageReinforcement(
        data=DataConfig(str(folder / "prompts.jsonl"), kind="prompts"),
        prompt_tokens=64,
        rollout=RolloutConfig(prompts=4, group=2, max_new_tokens=8),
        buckets=1,
        shown=2,
    )
    return trained(folder, steps, experiment, **fields)


def preference(folder, method="dpo", steps=3, **fields):
    kind, name = ("labelled", "labels") if method == "kto" else ("preference", "pairs")
    experiment = LanguagePreference(
        data=DataConfig(str(folder / f"{name}.jsonl"), kind=kind),
        evaluation=DataConfig(kind=kind),
        method=method,
        length=96,
        batch_size=4,
        shown_tokens=4,
    )
    return trained(folder, steps, experiment, **fields)


def sft(folder, steps=3, **fields):
    experiment = LanguageSupervised(
        data=DataConfig(str(folder / "chats.jsonl"), kind="chat"),
        batch=BatchConfig(batch_size=2, length=96, streams=2),
        shown_tokens=4,
    )
    return trained(folder, steps, experiment, **fields)

"""Language models trained by two processes learn what one process learns."""

import json

import pytest
from harness import run_processes
from tiny_models import write_tiny_model

pytest.importorskip("tokenizers")
pytest.importorskip("math_verify")

FILE = """
from jaxreason.data import BatchConfig
from jaxreason.data.language import DataConfig
from jaxreason.training.language import *
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig

COMMON = dict(
    base="{folder}/base",
    held_out=3,
    shown=2,
    optimizer=OptimizerConfig(1e-3, 0, 10),
    train=TrainConfig(steps=2, log_every=1, evaluate_every=2),
)
MADE = dict(
    sft=lambda: LanguageSupervised(
        data=DataConfig("{folder}/prompts.jsonl"),
        batch=BatchConfig(batch_size=4, length=96, streams=2),
        shown_tokens=4,
        **COMMON,
    ),
    dpo=lambda: LanguagePreference(
        data=DataConfig("{folder}/pairs.jsonl", kind="preference"),
        length=96,
        batch_size=4,
        shown_tokens=4,
        **COMMON,
    ),
    grpo=lambda: LanguageReinforcement(
        data=DataConfig("{folder}/prompts.jsonl", kind="prompts"),
        prompt_tokens=64,
        weights={{"answered": 1.0}},
        rollout=RolloutConfig(4, 2, 12),
        buckets=1,
        **COMMON,
    ),
)
experiment = MADE["{kind}"]()
"""


@pytest.mark.slow  # three processes start
@pytest.mark.parametrize("kind", ["sft", "dpo", "grpo"])
def test_two_processes_learn_what_one_learns(kind, tmp_path):
    write_tiny_model(tmp_path / "base", layers=1)
    asked = [{"question": f"{i}+1=", "answer": str(i + 1)} for i in range(16)]
    pairs = [{"prompt": f"{i}", "chosen": "yes", "rejected": "no"} for i in range(16)]
    for name, lines in (("prompts", asked), ("pairs", pairs)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    file = tmp_path / "language.py"
    file.write_text(FILE.format(folder=tmp_path, kind=kind))
    for processes in (1, 2):
        command = ["train", file, "--run", tmp_path / str(processes)]
        for done in run_processes(processes, command, devices=2 // processes, timeout=500):
            assert done.returncode == 0, done.stderr
    found = []
    for name in ("1", "2"):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        for line in lines:
            del line["time"]
        found.append(lines)
        assert (tmp_path / name / "tokenizer/tokenizer.json").is_file()
        assert len(list((tmp_path / name / "completions").glob("held_out-*"))) == 2
    assert len(found[0]) == len(found[1]) == 4
    for left, right in zip(*found, strict=True):
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert right[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key

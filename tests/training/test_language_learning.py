"""From a random model over SFT to GRPO with a real verifier: what is rewarded becomes likely."""

import json

import jax
import pytest
from language_runs import make_files, trained, write_lines

from jaxreason.data import BatchConfig
from jaxreason.data.language import DataConfig
from jaxreason.evaluation.study import study
from jaxreason.training.language import LanguageReinforcement, LanguageSupervised
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig

pytest.importorskip("tokenizers")
pytest.importorskip("math_verify")


@pytest.mark.slow
def test_grpo_raises_the_share_of_right_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    folder = make_files(tmp_path)
    # The base is to know what an answer looks like, and not which one is right.
    chats = [{"prompt": "say", "completion": str(i % 10)} for i in range(80)]
    asked = write_lines(folder / "asked.jsonl", [{"question": "say", "answer": "7"}] * 40)
    common = {"optimizer": OptimizerConfig(1e-2, 5, 200, weight_decay=0.0, schedule="constant")}
    supervised = LanguageSupervised(
        data=DataConfig(write_lines(folder / "say.jsonl", chats)),
        batch=BatchConfig(batch_size=4, length=128),
        shown=0,
    )
    train = TrainConfig(steps=60, log_every=20)
    trained(folder, 60, supervised, train=train, **common).run(folder / "sft", progress=False)
    policy = LanguageReinforcement(
        base=str(folder / "sft"),
        data=DataConfig(asked, kind="prompts"),
        prompt_tokens=64,
        buckets=1,
        overrides={"kl_coefficient": "0"},
        rollout=RolloutConfig(prompts=8, group=8, max_new_tokens=4),
        optimizer=OptimizerConfig(3e-3, 0, 40, weight_decay=0.0, schedule="constant"),
        train=TrainConfig(steps=40, log_every=5, evaluate_every=40),
        held_out=4,
    )
    policy.run(folder / "grpo", progress=False)
    rows = read_metrics(folder / "grpo/metrics.jsonl")
    rewards = [row["reward"] for row in rows if "reward" in row]
    assert rewards[0] < 0.5
    assert rewards[-1] > 0.9
    assert [row["evaluation"] for row in rows if "evaluation" in row][-1]["held_out_reward"] == 1
    # The run says what it started from, and the sparsity of what it did can be read off.
    found = study([str(folder / "grpo")], rank=False)
    assert found.base == str(folder / "sft")
    assert found.runs[0].comparison.total().sparsity("exact") < 0.9
    assert json.loads(json.dumps(found.as_json()))["runs"][0]["outcome"][0] == "held-out reward"

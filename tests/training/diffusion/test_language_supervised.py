"""Fine-tuning of a diffusion language model on conversations, and RL that goes on from it."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="install the extra `hf`")

from tiny_models import write_tiny_model

from jaxreason.data.language import DataConfig
from jaxreason.errors import InputError
from jaxreason.models.lora import LoraConfig
from jaxreason.tokens.chat import REASONING_INSTRUCTION
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.runs import experiment_from_json, load_experiment, load_run, read_config

SOLVED = [
    {"question": f"What is {i} + {i}?", "answer": f"Twice {i} is {2 * i}.\n#### {2 * i}"}
    for i in range(12)
]
CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": "Two."},
            {"role": "user", "content": "Three?"},
            {"role": "assistant", "content": "<think> three </think> Four."},
        ]
    }
]
EXPERIMENTS = Path(__file__).parents[3] / "experiments/mmada"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_tiny_model(folder / "llada", "llada", dtype="bfloat16", layers=1)
    for name, rows in (("solved", SOLVED), ("chats", CHATS)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(folder, data="solved", **fields):
    """The file's experiment, shrunk."""
    whole = load_experiment(EXPERIMENTS / "llm_diffusion_sft.py")
    source = DataConfig(str(folder / f"{data}.jsonl"), known="gsm8k", kind="chat")
    if data == "chats":
        source = dataclasses.replace(source, known="")
    base = {"base": str(folder / "llada"), "data": source, "evaluation": source, "held_out": 4}
    train = TrainConfig(steps=2, accumulation=2, log_every=1, evaluate_every=2, save_every=1)
    small = {"length": 384, "rows": 4, "overflow": "error", "loss_chunk": 64, "train": train}
    optimizer = dataclasses.replace(whole.optimizer, learning_rate=1e-2, warmup_steps=0)
    return dataclasses.replace(whole, **{**base, **small, "optimizer": optimizer, **fields})


def test_a_solution_is_a_prompt_that_stays_and_an_answer_that_reasons_and_ends(folder):
    e = experiment(folder)
    coder = e.coder(load_run(e.base))
    source = e.source(e.records()[0], coder)
    assert source.count("lm_chat") == 12
    row = source.row(3, "lm_chat")
    shown = coder.tokenizer.decode(row.tokens[~row.maskable], skip_special=False)
    assert shown == (
        f"<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{REASONING_INSTRUCTION}"
        "What is 3 + 3?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    said = coder.tokenizer.decode(row.tokens[row.maskable], skip_special=False)
    answer, end, filled = said.partition("<|eot_id|>")
    assert answer == "<think> Twice 3 is 6. </think> 6"
    assert set(filled.split("<|endoftext|>")) == {""}
    assert end
    assert row.keys.all()


def test_every_answer_of_a_conversation_is_a_row(folder):
    e = experiment(folder, "chats", reasoning_mark="", template="mmada")
    coder = e.coder(load_run(e.base))
    source = e.source(e.records()[0], coder)
    rows = [source.row(i, "lm_chat") for i in range(source.count("lm_chat"))]
    said = [coder.tokenizer.decode(row.tokens[row.maskable]) for row in rows]
    assert said == ["Two.", "<think> three </think> Four."]
    asked = [coder.tokenizer.decode(row.tokens[~row.maskable]) for row in rows]
    # Only what is answered with reasoning is asked for it; MMaDA's texts have no eot at their end.
    assert [REASONING_INSTRUCTION.strip() in text for text in asked] == [False, True]
    assert asked[1].index("Two.") < asked[1].index(REASONING_INSTRUCTION[:20])
    assert coder.ids.eot not in rows[0].tokens[rows[0].maskable]


def test_a_run_learns_and_is_a_base_of_reinforcement(folder, tmp_path):
    whole = experiment(folder)
    whole.run(tmp_path / "whole", progress=False)
    found = [row["evaluation"] for row in read_metrics(tmp_path / "whole/metrics.jsonl")
             if "evaluation" in row]  # fmt: skip
    assert found[-1]["validation_loss"] < found[0]["validation_loss"]
    run = load_run(tmp_path / "whole")
    assert run.experiment.kind == "imported"
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(run.params))
    assert experiment_from_json(read_config(tmp_path / "whole")) == whole

    policy = load_experiment(EXPERIMENTS / "llm_unigrpo.py")
    policy = dataclasses.replace(policy, base=str(tmp_path / "whole"))
    coder = policy.coder(policy.base_shapes())
    assert coder.ids == whole.coder(load_run(whole.base)).ids


@pytest.mark.slow
def test_a_run_is_cut_and_continued_to_the_same_bits(folder, tmp_path):
    whole = experiment(folder)
    whole = dataclasses.replace(whole, train=dataclasses.replace(whole.train, evaluate_every=0))
    through = whole.run(tmp_path / "whole", progress=False)
    one = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=1))
    for e in (one, whole):
        resumed = e.run(tmp_path / "cut", progress=False)
    jax.tree.map(np.testing.assert_array_equal, through.state.params, resumed.state.params)


@pytest.mark.slow
def test_lora_is_trained_in_its_place(folder, tmp_path):
    e = experiment(folder, lora=LoraConfig(rank=2, alpha=4.0))
    e.run(tmp_path, progress=False)
    before, after = load_run(e.base).params, load_run(tmp_path, merge=False).params
    np.testing.assert_array_equal(before["embedding"], after["embedding"])
    named = jax.tree_util.tree_leaves_with_path(after)
    moved = [leaf for path, leaf in named if "lora_b" in jax.tree_util.keystr(path)]
    assert moved
    assert all(np.any(leaf) for leaf in moved)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"template": "plain"}, "template is 'plain'"),
        ({"instruction": "d1"}, "instruction is 'd1'"),
        ({"overflow": "truncate"}, "overflow is 'truncate'"),
        ({"shown": 2}, "shown is 2"),
    ],
)
def test_bad_fields_are_named(folder, fields, message):
    with pytest.raises(InputError, match=message):
        experiment(folder, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 40}, r"solved.jsonl, line 1: \d+ tokens, length is 40"),
        ({"length": 40, "overflow": "drop"}, "no conversation has at most 40 tokens"),
        ({"reasoning_mark": "@@"}, "line 1: answer has no '@@'"),
        ({"rows": 3}, "accumulation"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        experiment(folder, **fields).run(tmp_path / "run", progress=False)

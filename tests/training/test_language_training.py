"""Language models trained on data files: what moves, what is kept, what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from language_runs import grpo, make_files, preference, sft, write_lines

from jaxreason import masks
from jaxreason.data.language import DataConfig
from jaxreason.errors import InputError
from jaxreason.models.lora import LoraConfig, is_lora
from jaxreason.rewards import Reward
from jaxreason.sharding.rules import path_name
from jaxreason.training.language.preference import OFFLINE
from jaxreason.training.language.problems import AnswerReward
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.runs import experiment_from_json, load_run

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(autouse=True)
def easy(monkeypatch):
    """One device, and a verifier that a random model satisfies now and then."""

    def reward(self, problems, completions):
        values = np.asarray(completions.tokens)[:, 0] % 2
        return Reward(values.astype(np.float32), {"odd": values.astype(np.float32)})

    monkeypatch.setattr(AnswerReward, "__call__", reward)
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def leaves(params):
    return {
        path_name(path): np.asarray(leaf, np.float32)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def evaluations(run):
    return [row["evaluation"] for row in read_metrics(run / "metrics.jsonl") if "evaluation" in row]


MAKERS = {"grpo": grpo, "dpo": preference, "sft": sft}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["grpo", pytest.param("dpo", marks=SLOW), pytest.param("sft", marks=SLOW)]
)
def test_a_run_moves_evaluates_writes_texts_and_goes_on_exactly(name, files, tmp_path):
    make = MAKERS[name]
    whole = make(files).run(tmp_path / "whole", progress=False)
    assert len(evaluations(tmp_path / "whole")) == 3  # at 0, 2 and 3
    before, after = load_run(files / "base").params, whole.state.params
    assert any((leaves(before)[n] != x).any() for n, x in leaves(after).items())
    texts = sorted(p.name for p in (tmp_path / "whole/completions").iterdir())
    assert "held_out-00000003.txt" in texts
    assert "--- answer" in (tmp_path / "whole/completions" / texts[0]).read_text()
    # The tokenizer comes along, and the run is a base like others.
    kept = tokenizer_of(tmp_path / "whole")
    assert kept.encode("42").tolist() == tokenizer_of(files / "base").encode("42").tolist()
    first = dataclasses.replace(make(files), train=TrainConfig(2, log_every=1, evaluate_every=2))
    first.run(tmp_path / "parts", progress=False)
    again = make(files).run(tmp_path / "parts", progress=False)
    jax.tree.map(
        np.testing.assert_array_equal, leaves(whole.state.params), leaves(again.state.params)
    )
    config = json.loads((tmp_path / "whole/config.json").read_text())
    assert experiment_from_json(config) == make(files)


def test_supervised_training_lowers_the_loss_and_learns_the_answers_alone(files, tmp_path):
    sft(files, steps=8).run(tmp_path / "run", progress=False)
    losses = [e["held_out_loss"] for e in evaluations(tmp_path / "run")]
    assert losses[-1] < losses[0] - 0.2
    last = evaluations(tmp_path / "run")[-1]
    assert last["held_out_perplexity"] == pytest.approx(np.exp(last["held_out_loss"]))
    e = sft(files)
    base = e.load_base()
    tokenizer = e.open_tokenizer(base.model)
    example = e.source(e.records()[0], tokenizer)[3]
    assert tokenizer.decode(example["tokens"][example["targets_mask"]]).strip() == "6"


@pytest.mark.parametrize(
    "method",
    ["simpo", *(pytest.param(m, marks=SLOW) for m in OFFLINE if m not in ("dpo", "simpo"))],
)
def test_every_preference_method_prefers_what_was_chosen(method, files, tmp_path):
    preference(files, method, steps=4).run(tmp_path / "run", progress=False)
    numbers = evaluations(tmp_path / "run")
    assert numbers[-1]["held_out_loss"] < numbers[0]["held_out_loss"]
    assert (tmp_path / "run/reference.npz").exists() == (method not in ("orpo", "simpo"))


def test_reference_scores_of_other_data_are_not_taken(files, tmp_path):
    preference(files, steps=1).run(tmp_path / "run", progress=False)
    other = [{"prompt": "a", "chosen": str(i), "rejected": "no"} for i in range(12)]
    path = write_lines(tmp_path / "other.jsonl", other)
    changed = preference(files, steps=2, data=DataConfig(path, kind="preference"))
    with pytest.raises(InputError, match="data"):
        changed.run(tmp_path / "run", progress=False)


@pytest.mark.slow
def test_a_mask_is_respected_and_lora_moves_alone(files, tmp_path):
    base = load_run(files / "base").params
    key = jax.random.key(3)
    mask = jax.tree.map(lambda x: jax.random.bernoulli(key, 0.5, x.shape), base)
    masks.save_mask(tmp_path / "mask", mask)
    result = grpo(files, steps=1, mask=str(tmp_path / "mask")).run(tmp_path / "run", False)
    for name, chosen in leaves(mask).items():
        moved = leaves(result.state.params)[name] != leaves(base)[name]
        assert not moved[chosen == 0].any(), name
    config = LoraConfig(rank=2, alpha=4.0, targets=("query", "value"))
    result = sft(files, steps=2, lora=config).run(tmp_path / "lora", progress=False)
    for name, leaf in leaves(result.state.params).items():
        if not is_lora(name):
            np.testing.assert_array_equal(leaf, leaves(base)[name])
    merged = leaves(load_run(tmp_path / "lora").params)
    assert (merged["layers/query"] != leaves(base)["layers/query"]).any()


def test_only_a_few_widths_are_compiled_and_long_prompts_are_named_or_dropped(files, tmp_path):
    e = dataclasses.replace(grpo(files), buckets=2, prompt_tokens=100)
    assert e.widths().widths == (64, 128)
    assert [e.widths()(n) for n in (1, 64, 65, 128, 130)] == [64, 64, 128, 128, 160]
    rows = [{"question": "1" * n, "answer": "1"} for n in (1, 2, 90, 3, 4, 5)]
    path = write_lines(tmp_path / "long.jsonl", rows)
    e = grpo(files, held_out=1, data=DataConfig(path, kind="prompts"))
    with pytest.raises(InputError, match="line 3"):
        e.task(e.load_base())
    dropping = dataclasses.replace(e, overflow="drop")
    assert dropping.asked(dropping.task(e.load_base())) == (4, 1)


def test_prompts_without_a_usable_answer_are_named(files, tmp_path):
    path = write_lines(tmp_path / "p.jsonl", [{"question": "a", "answer": "1"}] * 5)
    (tmp_path / "p.jsonl").write_text(
        (tmp_path / "p.jsonl").read_text() + '{"question": "a", "answer": "\\\\boxed{1"}\n'
    )
    e = grpo(files, held_out=1, data=DataConfig(path, kind="prompts"))
    with pytest.raises(InputError, match=r"line 6.*never closed"):
        e.task(e.load_base())


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (grpo, {"recipe": "best"}, "recipe is 'best'"),
        (grpo, {"weights": {"corect": 1.0}}, "weights has 'corect'"),
        (grpo, {"prompt_tokens": 0}, "prompt_tokens is 0"),
        (grpo, {"method": "gpo"}, "method is 'gpo'"),
        (grpo, {"remat": "all"}, "remat is 'all'"),
        (grpo, {"data": DataConfig("x.jsonl", kind="chat")}, "data.kind is 'chat'"),
        (sft, {"held_out": 0}, "held_out is 0"),
        (sft, {"learn": "first"}, "learn is 'first'"),
        (sft, {"template": "none"}, "template is 'none'"),
        (preference, {"method": "rft"}, "method is 'rft'"),
        (preference, {"data": DataConfig("x.jsonl", kind="labelled")}, "learns from 'preference'"),
        (preference, {"gamma": 2.0}, "gamma is 2.0"),
    ],
)
def test_fields_that_make_no_sense_are_refused_at_once(make, fields, message, files):
    with pytest.raises(InputError, match=message):
        make(files, **fields)


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (sft, {"data": DataConfig()}, r"data.path is ''"),
        (sft, {"held_out": 12}, "none is left"),
        (sft, {"base": ""}, "base is not set"),
        (grpo, {"tokenizer": "."}, "has no tokenizer.json"),
    ],
)
def test_what_a_run_lacks_is_named_before_it_begins(make, fields, message, files, tmp_path):
    with pytest.raises(InputError, match=message):
        make(files, **fields).run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run/config.json").exists()

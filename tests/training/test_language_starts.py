"""What a language run says and refuses before its base is loaded, and how texts are judged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from language_runs import grpo, make_files, preference, sft, write_lines

from jaxreason.data import BatchConfig, training_batches
from jaxreason.data.language import DataConfig, PromptRecord
from jaxreason.errors import FailureError, InputError
from jaxreason.rewards import Reward
from jaxreason.training import held_out
from jaxreason.training.language import (
    LanguagePreference,
    LanguageReinforcement,
    LanguageSupervised,
    reinforcement,
)
from jaxreason.training.language import problems as asked_problems
from jaxreason.training.language.problems import AnswerReward, Asked, PromptVocabulary
from jaxreason.training.left_out import CountedBatches
from jaxreason.training.loop import TrainConfig
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.prompt_rows import Task
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.types import Completions

pytest.importorskip("tokenizers")

MAKERS = {"grpo": grpo, "dpo": preference, "sft": sft}
KINDS = {"grpo": "prompts", "dpo": "preference", "sft": "chat"}


class LoadedError(Exception):
    """The base is loaded now."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(autouse=True)
def one_device_and_no_weights(monkeypatch):
    def load(self):
        raise LoadedError

    for make in (LanguageReinforcement, LanguagePreference, LanguageSupervised):
        monkeypatch.setattr(make, "load_base", load)
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def many(folder, kind, lengths):
    """A file of records whose prompts have about so many tokens."""
    rows = [{"prompt": "1" * n, "chosen": "1", "rejected": "2"} for n in lengths]
    if kind != "preference":
        rows = [{"prompt": row["prompt"], "answer": "1"} for row in rows]
    if kind == "chat":
        rows = [{"prompt": row["prompt"], "completion": "1"} for row in rows]
    return DataConfig(write_lines(folder / f"{kind}.jsonl", rows), kind=kind)


@pytest.mark.parametrize("name", MAKERS)
def test_cheap_mistakes_are_told_before_weights_are_read(name, files, tmp_path, monkeypatch):
    make, kind, run = MAKERS[name], KINDS[name], tmp_path / "run"
    good = make(files)
    few = many(tmp_path, kind, [1] * 6)
    wrong = [
        (FailureError, {"data": DataConfig(str(tmp_path / "no.jsonl"), kind=kind)}, "cannot be"),
        (FailureError, {"evaluation": DataConfig(str(tmp_path / "no.jsonl"), kind=kind)}, "cannot"),
        (InputError, {"tokenizer": str(tmp_path)}, "has no tokenizer.json"),
        (InputError, {"held_out": 12}, "none is left"),
        (FailureError, {"base": str(tmp_path / "nothing")}, "nothing"),
    ]
    if name == "sft":
        wrong += [(InputError, {"train": TrainConfig(3, accumulation=4)}, "batch.batch_size is 2")]
    else:
        wrong += [(InputError, {"train": TrainConfig(3, accumulation=5)}, "accumulation")]
        wrong += [(InputError, {"data": few, "held_out": 3}, "is 3|only 3|batch_size is 4")]
    for kind_of_error, fields, message in wrong:
        with pytest.raises(kind_of_error, match=message):
            dataclasses.replace(good, **fields).run(run, progress=False)
        assert not (run / "config.json").exists()
    if name == "grpo":
        with monkeypatch.context() as patched:
            patched.setattr(reinforcement, "check_math_verify", _missing)
            with pytest.raises(InputError, match="math-verify"):
                good.run(run, progress=False)
    other = tmp_path / "other"
    (other / "checkpoints/1").mkdir(parents=True)
    (other / "damaged").mkdir()
    (other / "config.json").write_text('{"kind": "another"}')
    with pytest.raises((InputError, FailureError), match="was started with another config"):
        good.run(other, progress=False)
    with pytest.raises(LoadedError):
        good.run(run, progress=False)


def _missing():
    raise InputError("math-verify is not installed")


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_too_long_is_told_at_the_start(name, files, tmp_path, capsys):
    data = many(tmp_path, KINDS[name], [1, 200, 2, 200, 3, 4, 5, 6, 200, 7])
    e = dataclasses.replace(MAKERS[name](files), data=data, held_out=3)
    if name == "sft":
        e = dataclasses.replace(e, batch=dataclasses.replace(e.batch, overflow="drop"))
    else:
        e = dataclasses.replace(e, overflow="drop")
    with pytest.raises(LoadedError):
        e.run(tmp_path / "run")
    data_line, held_out_line = capsys.readouterr().err.strip().splitlines()[-2:]
    expected = {
        "grpo": "data: 5 prompts, 2 dropped, 0 truncated (prompt_tokens 64)",
        "dpo": "data: 5 examples, 2 dropped, 0 truncated, 0 identical (length 96); 64 tokens a row",
        "sft": "data: 2 of 7 examples are longer than 96 tokens (batch.overflow drop)",
    }
    assert data_line == expected[name]
    assert held_out_line.startswith("held-out data: 2 ")
    assert "1 dropped" in held_out_line
    if name == "grpo":
        numbers = e.left_out(e.task(e.described()), False)
        assert numbers == {"prompts_dropped": 2.0, "prompts_truncated": 0.0}


def test_held_out_records_are_treated_as_those_trained_on(files, tmp_path):
    e = sft(files)
    tokenizer = e.open_tokenizer(e.described().model)
    records = dataclasses.replace(
        e, data=many(tmp_path, "chat", [1, 200, 2, 3]), held_out=3
    ).records()[1]

    def batches(overflow):
        changed = dataclasses.replace(e, batch=dataclasses.replace(e.batch, overflow=overflow))
        found = changed.held_out_batches(records, tokenizer, False)
        return sum(batch["targets_mask"].sum() for batch in found)

    with pytest.raises(InputError, match=r"held-out data: example 0 has 2\d\d tokens"):
        batches("error")
    assert batches("truncate_left") > batches("drop") > 0
    with pytest.raises(InputError, match="held-out data: none of the 1 examples fits"):
        dataclasses.replace(
            e, batch=dataclasses.replace(e.batch, overflow="drop")
        ).held_out_batches(records[:1], tokenizer, False)
    long = dataclasses.replace(e, data=many(tmp_path, "chat", [200] + [1] * 8))
    with pytest.raises(InputError, match="data: 1 of the first 5 examples are longer than 96"):
        long.run(tmp_path / "run", progress=False)


class Lengths:
    """Examples of these lengths."""

    def __init__(self, lengths):
        self._lengths = lengths

    def __len__(self):
        return len(self._lengths)

    def __getitem__(self, index):
        tokens = np.ones(self._lengths[index], np.int32)
        return {"tokens": tokens, "prompt_length": 1, "index": index}


def test_batches_are_counted_while_they_are_trained_on():
    for overflow, expected in (("drop", (2, 0)), ("truncate_right", (0, 2))):
        fields = {"batch_size": 1, "length": 8, "packing": "padded", "epochs": 1}
        batches = CountedBatches(
            training_batches(Lengths([4, 9, 5, 12]), pad_id=0, overflow=overflow, **fields)
        )
        assert batches.numbers() == {"data_dropped": 0, "data_truncated": 0}
        assert len(list(batches)) == 4 - expected[0]
        assert tuple(batches.numbers().values()) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learn": "last", "batch": BatchConfig(2, 96, loss_on="all")}, "batch.loss_on is 'all'"),
        ({"learn": "last", "template": "plain"}, "template is 'plain'"),
        ({"learn": "last", "data": DataConfig("a", kind="text")}, "data.kind is 'text'"),
        ({"template": "plain", "data": DataConfig("a", kind="text")}, "which has no turns"),
    ],
)
def test_fields_that_would_change_nothing_are_refused(fields, message, files):
    with pytest.raises(InputError, match=message):
        sft(files, **fields)


def test_text_beside_conversations_leaves_the_fields_their_meaning(files):
    text, chat = DataConfig("a", kind="text"), DataConfig("b", kind="chat")
    assert sft(files, data=text, mixed_with=(chat,), learn="last").learn == "last"
    assert sft(files, data=text, mixed_with=(chat,), template="plain").template == "plain"


@pytest.mark.parametrize(("count", "rows"), [(3, [3]), (64, [64]), (70, [64, 64])])
def test_no_more_rows_are_decoded_than_there_are(count, rows, monkeypatch):
    class Source:
        vocabulary = PromptVocabulary(0, (1,))

        def problem(self, index):
            return Asked(np.ones(3, np.int32), index)

    seen = []

    def draw(sampler, params, prompts, key, mesh):
        seen.append(len(prompts["tokens"]))
        return prompts

    def judge(reward, problems, completions, mesh):
        return Reward(np.array([asked.record for asked in problems], np.float32), {})

    monkeypatch.setattr(held_out, "draw", draw)
    monkeypatch.setattr(held_out, "judge_rows", judge)
    monkeypatch.setattr(held_out, "held_out_sampler", lambda *_: None)
    task = Task(Source(), Source(), None)
    evaluate = held_out.held_out_rewards(None, task, RolloutConfig(), count, None)
    numbers = evaluate({}, 0)
    assert seen == rows * 2
    assert numbers["held_out_reward"] == pytest.approx((count - 1) / 2)


def test_answers_are_judged_as_text_without_their_end(files, monkeypatch):
    """Rows that ended with either of two ids, and one that was cut off."""
    tokenizer = tokenizer_of(files / "base")
    ends = tokenizer.encode("<|im_end|>").tolist(), tokenizer.encode("<|endoftext|>").tolist()
    assert [len(end) for end in ends] == [1, 1]
    boxed = tokenizer.encode("\\boxed{42}").tolist()
    rows = [boxed + ends[0], boxed + ends[1], boxed, boxed[:-1], boxed[:-1] + ends[0]]
    finished = np.array([True, True, False, False, True])
    width = max(map(len, rows)) + 2
    # What lies after the end must not be read: another answer, as it happens.
    tokens = np.tile(tokenizer.encode("7" * width)[:width], (len(rows), 1)).astype(np.int32)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    completions = Completions(
        jnp.asarray(tokens),
        jnp.zeros(tokens.shape),
        jnp.array([len(row) for row in rows]),
        jnp.asarray(finished),
    )
    seen = []
    judge = asked_problems.math_reward

    def listening(answers, texts, *rest, **options):
        seen.extend(texts)
        return judge(answers, texts, *rest, **options)

    monkeypatch.setattr(asked_problems, "math_reward", listening)
    records = [PromptRecord(({"role": "user", "content": "?"},), "42", {}, "")] * len(rows)
    problems = [Asked(np.ones(1, np.int32), record) for record in records]
    pytest.importorskip("math_verify")
    found = AnswerReward(tokenizer, {"correct": 1.0}, "boxed", 5.0)(problems, completions)
    assert seen == ["\\boxed{42}"] * 3 + ["\\boxed{42"] * 2
    assert found.values.tolist() == [1, 1, 1, 0, 0]
    assert found.breakdown["finished"].tolist() == finished.tolist()

"""Several data files in one run: their shares, what is held out, and requests that mean nothing."""

import dataclasses
import json
from collections import Counter

import pytest
from language_runs import grpo, sft, write_lines

from jaxreason.cli.options import parse_options
from jaxreason.data.language import DataConfig
from jaxreason.errors import InputError
from jaxreason.training.json_fields import from_json


@pytest.fixture
def folder(tmp_path):
    for name, count in (("chats", 10), ("others", 3), ("held", 5)):
        rows = [{"prompt": f"{name}{i}", "completion": "a"} for i in range(count)]
        write_lines(tmp_path / f"{name}.jsonl", rows)
    return tmp_path


def mixed(folder, weights=(1.0, 3.0), **fields):
    first, second = (
        DataConfig(str(folder / f"{name}.jsonl"), weight=weight)
        for name, weight in zip(("chats", "others"), weights, strict=True)
    )
    return sft(folder, data=first, mixed_with=(second,), **fields)


def asked(records):
    return Counter(record.messages[0]["content"] for record in records)


def test_the_last_records_of_the_first_file_are_held_out_and_all_others_trained_on(folder):
    trained, held_out = mixed(folder).records()
    assert asked(held_out) == {f"chats{i}": 1 for i in range(6, 10)}
    assert trained.counts == {"chats": 6, "others": 18}
    assert asked(trained) == {
        **{f"chats{i}": 1 for i in range(6)},
        **{f"others{i}": 6 for i in range(3)},
    }
    evaluation = DataConfig(str(folder / "held.jsonl"))
    trained, held_out = mixed(folder, (0.0, 0.0), evaluation=evaluation).records()
    assert trained.counts == {"chats": 10, "others": 3}
    assert len(held_out) == 4


def test_config_json_and_the_command_line_keep_the_mixture(folder):
    experiment = mixed(folder)
    stored = json.loads(json.dumps(dataclasses.asdict(experiment)))
    assert from_json(type(experiment), stored, "") == experiment
    changed = parse_options(
        type(experiment), ["--mixing-temperature", "1.0", "--held-out", "2"], "x", experiment
    )
    assert changed == dataclasses.replace(experiment, held_out=2)


def test_mixtures_that_mean_nothing(folder):
    with pytest.raises(InputError, match=r"mixed_with\[0\]\.kind is 'preference'"):
        sft(folder, mixed_with=(DataConfig(kind="preference"),))
    with pytest.raises(InputError, match=r"mixed_with\[0\]\.kind is 'chat'; expected 'prompts'"):
        grpo(folder, mixed_with=(DataConfig(),))
    with pytest.raises(InputError, match=r"mixed_with\[0\]\.path is ''"):
        sft(folder, mixed_with=(DataConfig(),)).records()
    with pytest.raises(InputError, match="mixing_temperature is given, but mixed_with has no"):
        sft(folder, mixing_temperature=2.0)
    with pytest.raises(InputError, match=r"data\.weight is given, but mixed_with has no"):
        sft(folder, data=DataConfig(str(folder / "chats.jsonl"), weight=1.0))
    with pytest.raises(InputError, match=r"evaluation\.weight is 1\.0"):
        mixed(folder, evaluation=DataConfig(str(folder / "held.jsonl"), weight=1.0))

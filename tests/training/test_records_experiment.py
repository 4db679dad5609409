"""Training on records from files: trained, resumed, evaluated, continued; bad records are named."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxreason.cli.main import main
from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.bounds import BoundConfig
from jaxreason.training.diffusion.records_data import RecordsData
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import load_run, read_experiment

RECORDS = [
    {"task": "lm_chat", "question": "two plus two", "reasoning": "count", "answer": "four"},
    {"task": "lm_chat", "question": "two plus one", "answer": "three"},
    {"task": "mmu", "question": "what is it", "answer": "a cat", "codes": [1, 0, 2, 2]},
]
HELD_OUT = [{"task": "lm_chat", "question": "two plus two", "answer": "three"}]


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two steps on the records above."""
    folder = tmp_path_factory.mktemp("records")
    return RecordsExperiment(
        data=RecordsData(
            lines(folder / "train.jsonl", RECORDS),
            lines(folder / "held_out.jsonl", HELD_OUT),
            text_length=21,
            image_tokens=4,
            image_codes=3,
        ),
        model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="block_causal"),
        blocks=BlockTraining(4),
        rows={"lm_chat": 6, "mmu": 2, "lm": 0},
        optimizer=OptimizerConfig(warmup_steps=1, total_steps=2),
        train=TrainConfig(steps=2, log_every=1, save_every=1, evaluate_every=2),
        bounds=BoundConfig(batch=2),
    )


@pytest.fixture(scope="module")
def trained(experiment, tmp_path_factory):
    """Its run, and the result."""
    directory = tmp_path_factory.mktemp("runs") / "records"
    return directory, experiment.run(directory, progress=False)


def test_held_out_records_have_a_loss_and_a_perplexity(trained):
    directory, _ = trained
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    found = next(row["evaluation"] for row in rows if "evaluation" in row)
    # Nothing is learnt in two steps: a token is one of some forty.
    assert 2 < found["validation_loss"] < 6
    # Of a row of 28 tokens the answer with its end is three; the filling is paid for too.
    assert found["held_out_perplexity_lm_chat"] > 40


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(experiment, trained, tmp_path):
    one = dataclasses.replace(
        experiment, train=dataclasses.replace(experiment.train, steps=1, evaluate_every=0)
    )
    one.run(tmp_path, progress=False)
    two = dataclasses.replace(
        experiment, train=dataclasses.replace(experiment.train, evaluate_every=0)
    )
    resumed = two.run(tmp_path, progress=False)
    jax.tree.map(np.testing.assert_array_equal, trained[1].state.params, resumed.state.params)


def test_a_run_is_found_without_its_records(experiment, trained, tmp_path):
    directory, result = trained
    run = load_run(directory)
    jax.tree.map(np.testing.assert_array_equal, run.params, result.state.params)
    assert run.experiment == experiment.settled()
    gone = dataclasses.replace(run.experiment.data, train="gone.jsonl")
    moved = dataclasses.replace(run.experiment, data=gone)
    assert moved.transformer() == run.model
    assert moved.ids == experiment.ids
    with pytest.raises(InputError, match=r"data\.held_out is ''"):
        dataclasses.replace(moved, data=RecordsData()).held_out_source()


def test_other_records_do_not_go_on_with_a_run(experiment, trained, tmp_path):
    more = [*RECORDS, {"task": "lm_chat", "question": "two", "answer": "zebra"}]
    other = dataclasses.replace(experiment.data, train=lines(tmp_path / "train.jsonl", more))
    with pytest.raises(InputError, match="word_list"):
        dataclasses.replace(experiment, data=other).run(trained[0], progress=False)
    based = dataclasses.replace(experiment, data=other, base=str(trained[0]))
    with pytest.raises(InputError, match=r"base .* has words 16, the tokens of this experiment 17"):
        based.run(tmp_path / "run", progress=False)


def test_a_run_goes_on_from_its_base(experiment, trained):
    directory, result = trained
    settled = dataclasses.replace(experiment, base=str(directory)).settled()
    jax.tree.map(np.testing.assert_array_equal, settled.initial_params(), result.state.params)
    wider = dataclasses.replace(settled.model, rope_base=5.0)
    with pytest.raises(InputError, match=r"model.rope_base 10000.0, this experiment 5.0"):
        dataclasses.replace(settled, model=wider).initial_params()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"task": "lm_chat", "question": "two"}, "line 4: answer is missing"),
        ({"task": "lm_chat", "question": "two " * 40, "answer": "a"}, "line 4: .*too long|line 4"),
        ({"task": "mmu", "question": "two", "answer": "a", "codes": [9] * 4}, "line 4: .*code 9"),
        (
            {"task": "mmu", "question": "two", "answer": "a", "image": "cat.png"},
            "line 4: image is given, but no codec",
        ),
    ],
)
def test_a_bad_record_is_named_with_its_line(experiment, tmp_path, record, message):
    data = dataclasses.replace(
        experiment.data, train=lines(tmp_path / "train.jsonl", [*RECORDS, record])
    )
    with pytest.raises(InputError, match=message):
        dataclasses.replace(experiment, data=data).run(tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_word_of_a_held_out_record_is_named_with_its_line(experiment, tmp_path):
    unknown = [*HELD_OUT, {"task": "lm_chat", "question": "two plus ten", "answer": "three"}]
    data = dataclasses.replace(experiment.data, held_out=lines(tmp_path / "h.jsonl", unknown))
    with pytest.raises(InputError, match=r"h.jsonl, line 2: word .* 'ten'"):
        dataclasses.replace(experiment, data=data).run(tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"plan": 8}}, "rows has task 'plan'; expected some of t2i"),
        ({"rows": {}}, "no task with at least one row"),
        ({"rows": {"t2i": 8}}, "rows has task 't2i' and blocks.length is 4"),
        ({"blocks": BlockTraining(0)}, "masked diffusion without blocks needs 'bidirectional'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(experiment, changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(experiment, **changes)


def test_a_task_without_records_is_refused(experiment, tmp_path):
    missing = dataclasses.replace(experiment, rows={"lm": 8})
    with pytest.raises(InputError, match=r"rows has task 'lm'; the records .* lm_chat, mmu"):
        missing.run(tmp_path / "run", progress=False)


def test_the_command_bounds_the_perplexity_of_held_out_records(trained, capsys):
    directory, _ = trained
    assert main(["evaluate", str(directory), "--padding", "hidden"]) == 0
    assert "held-out records" in capsys.readouterr().out
    found = json.loads((directory / "evaluation" / "step-2.json").read_text())["tasks"]
    assert set(found) == {"lm_chat"}
    assert found["lm_chat"]["judged"] is None
    # Line break, `three`, end.
    assert found["lm_chat"]["likelihood"]["tokens"] == 3
    assert main(["evaluate", str(directory), "--tasks", "mmu"]) == 2
    assert "tasks has 'mmu'; the held-out records are of lm_chat" in capsys.readouterr().err
    assert read_experiment(directory).kind == "diffusion_records"

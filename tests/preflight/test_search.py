"""The search for a batch: right for every memory, and sparing with programs."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.data import BatchConfig
from jaxreason.errors import InputError
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.preflight import run
from jaxreason.training.preflight.analysis import Estimate, Report
from jaxreason.training.preflight.search import POLICIES, search, sized
from jaxreason.training.program import TrainConfig

WAYS = 4
EXPERIMENT = MazeExperiment(batch=BatchConfig(batch_size=8, length=64))


def judged(fixed, per_row, asked):
    """A compiler for which memory is fixed + rows x what the remat policy keeps."""

    def judge(experiment):
        asked.append((experiment.model.remat, experiment.batch.batch_size))
        rows = experiment.batch.batch_size // WAYS
        grown = int(rows * per_row[POLICIES.index(experiment.model.remat)])
        memory = {"parameters": fixed, "activations and temporaries": grown}
        needed = fixed + grown
        return Report("step", 1, needed <= 1000, memory, needed, 1000)

    return judge


@given(
    fixed=st.integers(0, 1200),
    per_row=st.lists(st.floats(1, 400), min_size=4, max_size=4).map(lambda x: sorted(x)[::-1]),
)
@settings(max_examples=60, deadline=None)
def test_every_policy_gets_the_largest_power_of_two_that_fits(fixed, per_row):
    asked = []
    found = search(EXPERIMENT, WAYS, judged(fixed, per_row, asked))
    for one, kept in zip(found, per_row, strict=True):
        fitting = [2**k for k in range(13) if fixed + int(2**k * kept) <= 1000]
        assert one.rows == WAYS * max(fitting, default=0)
        assert one.report.fits == bool(fitting)
        assert one.compiled <= 4
    assert len(asked) == len(set(asked)) == sum(one.compiled for one in found)


def test_options_say_what_was_found():
    found = search(EXPERIMENT, WAYS, judged(100, [300, 200, 100, 50], []))
    assert [one.options for one in found] == [
        f"--model.remat {policy} --batch.batch-size {rows}"
        for policy, rows in zip(POLICIES, (8, 16, 32, 64), strict=True)
    ]


def test_rows_of_tasks_keep_their_proportions_and_fill_the_devices():
    experiment = RecordsExperiment(rows={"lm_chat": 6, "mmu": 3})
    size = sized(experiment, 8, 2)
    assert size.experiment.rows == {"lm_chat": 32, "mmu": 16}
    assert (size.rows % 8, size.options) == (0, "--rows lm_chat 32 mmu 16")


def test_every_size_tried_is_a_multiple_of_the_streams():
    batch = replace(EXPERIMENT.batch, batch_size=24, streams=3)
    asked = []
    found = search(replace(EXPERIMENT, batch=batch), WAYS, judged(100, [100] * 4, asked))
    assert {rows % 12 for _, rows in asked} == {0}
    # 3 x 2 rows a device fit, 3 x 4 do not.
    assert (found[0].rows, found[0].rows_per_device) == (24, 6)


def test_the_json_of_a_search_ranks_as_the_table_does(monkeypatch):
    found = search(EXPERIMENT, WAYS, judged(100, [300, 200, 100, 50], []))
    for one in found:
        one.report.estimate = Estimate(2.0, 1.0, 0.0, 0.0, model=1.0)
    monkeypatch.setattr(run, "_libtpu_version", lambda: "0")
    document = run.search_json(found, "v5e-4", 2)
    assert (document["schema"], document["topology"]) == (2, {"name": "v5e-4", "slices": 2})
    assert [one["rows"] for one in document["search"]] == [8, 16, 32, 64]
    first = document["search"][0]
    assert (first["policy"], first["options"]) == ("none", found[0].options)
    estimate = first["program"]["estimate"]
    assert (estimate["seconds"], estimate["bound"], estimate["mfu"]) == (2.0, "compute", 0.5)
    assert json.loads(json.dumps(document)) == document


def test_accumulation_divides_what_a_device_holds_at_once():
    experiment = replace(EXPERIMENT, train=TrainConfig(accumulation=4))
    found = search(experiment, WAYS, judged(0, [250] * 4, []))
    assert (found[0].rows, found[0].rows_per_device) == (16, 1)


def test_runs_without_a_batch_of_their_own_are_refused():
    with pytest.raises(InputError, match=r"--search .* TrainConfig is none"):
        sized(TrainConfig(), 8, 1)

"""The runner of the benchmarks: fair turns, honest ratios, peers that are missing or fail."""

import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks"
NAMES = ("peer_process", "suite", "table", "environment", "run")


@pytest.fixture(scope="module")
def scripts():
    """The modules of the folder, as they find each other when one of them is run."""
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES})
    sys.path.remove(str(FOLDER))
    for name in NAMES:
        del sys.modules[name]


def test_contestants_take_turns_after_one_call_that_does_not_count(scripts):
    calls = []

    def contestant(name, seconds):
        def run(times):
            calls.append((name, times))
            return seconds * times

        return run

    found = scripts.suite.take_turns(
        {"ours": contestant("ours", 1.0), "theirs": contestant("theirs", 3.0)}, rounds=2, times=5
    )
    assert calls == [("ours", 1), ("theirs", 1)] + [("ours", 5), ("theirs", 5)] * 2
    assert found == {"ours": [1.0, 1.0], "theirs": [3.0, 3.0]}


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_figures(scripts):
    ours, theirs = [1.0, 10.0, 2.0], [2.0, 10.0, 8.0]  # a slow round hits both
    (row,) = scripts.suite.against(
        {"ours": ours, "theirs": theirs}, "ours", ["theirs"], 100, benchmark="b", case="c", unit="u"
    )
    assert row.ratio == 2.0  # of 2, 1 and 4
    assert row.quartiles == (1.5, 3.0)
    assert statistics.median(theirs) / statistics.median(ours) == 4.0
    assert (row.value, row.peer_value) == (50.0, 12.5)


def test_without_its_peer_a_row_has_no_ratio_and_names_the_remedy(scripts):
    peer = scripts.suite.Peer(None, {})
    (row,) = scripts.suite.against(
        {"ours": [1.0]},
        "ours",
        ["torch"],
        7,
        benchmark="b",
        case="c",
        unit="u",
        missing=peer.lacks("torch"),
        at_least=1.2,
    )
    assert (row.value, row.ratio, row.peer_value, row.met) == (7.0, None, None, None)
    line = scripts.table.cells(row)
    assert "pip install" in line[4]
    assert line[5] == "1.2 times as fast"  # neither met nor missed


@pytest.mark.parametrize(
    ("fields", "met"),
    [
        ({"ratio": 1.2, "at_least": 1.2}, True),
        ({"ratio": 1.19, "at_least": 1.2}, False),
        ({"value": 3000.0, "value_at_least": 3000.0}, True),
        ({"value": 2999.0, "value_at_least": 3000.0}, False),
        ({"value": 2.0, "at_most": 2.0}, True),
        ({"value": 2.1, "at_most": 2.0}, False),
        ({"value": 2.1}, None),
    ],
)
def test_goals(scripts, fields, met):
    row = scripts.suite.Row(**({"benchmark": "b", "case": "c", "value": 1.0, "unit": "u"} | fields))
    assert row.met is met
    assert ("not met" in scripts.table.shown_goal(row)) is (met is False)


@pytest.mark.parametrize(("load", "judged"), [(3.5, True), (3.6, False)])
def test_no_goal_is_judged_while_other_work_runs(scripts, load, judged):
    row = {"benchmark": "b", "case": "c", "value": 1.0, "unit": "u", "ratio": 4.0, "at_least": 1.2}
    report = {
        "quick": False,
        **{"commit": "c", "date": "d", "versions": {}, "devices": ["x"], "peer_threads": 2},
        **{"load_average_at_start": load, "seed": 0},
        "processor": {"model": "m", "cores": 2, "flags": []},
        "benchmarks": {"b": {"load_average_at_start": load, "seconds": 1, "rows": [row]}},
    }
    text = scripts.table.markdown(report)
    assert ("times as fast, met" in text) is judged
    assert ("not judged under this load" in text) is ("kept the machine busy" in text) is not judged


@pytest.fixture
def stub_peer(tmp_path, monkeypatch):
    """A Python whose torch is a file of one function, and a peer module beside it."""
    (tmp_path / "torch.py").write_text("def set_num_threads(count): print('noise', count)\n")
    (tmp_path / "torch-9.8.dist-info").mkdir()
    (tmp_path / "torch-9.8.dist-info" / "METADATA").write_text("Name: torch\nVersion: 9.8\n")
    (tmp_path / "stub.py").write_text(
        "def contestants(settings):\n"
        "    print('more noise')\n"
        "    settings['facts']['twice'] = 2 * settings['number']\n"
        "    return {'fine': lambda: {'phase': 0.5}, 'broken': lambda: 1 / 0}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return sys.executable


def test_peers_run_in_a_process_of_their_own_and_tell_what_went_wrong(scripts, stub_peer):
    peer = scripts.suite.find_peer(stub_peer)
    assert peer.versions["torch"] == "9.8"
    assert not peer.has("torch", "trl")
    with peer.start("stub", {"number": 21}) as running:
        assert running.facts == {"twice": 42}
        contestants = running.contestants()
        assert contestants["fine"](3) >= 0
        assert running.told["fine"] == [{"phase": 0.5}] * 3
        with pytest.raises(scripts.suite.PeerError, match="ZeroDivisionError"):
            contestants["broken"](1)
        seconds = scripts.suite.take_turns({"ours": lambda times: 1.0, **contestants}, rounds=2)
    assert seconds["broken"] == []
    assert len(seconds["fine"]) == 2
    rows = scripts.suite.against(
        seconds, "ours", ["fine", "broken"], 1, benchmark="b", case="c", unit="u"
    )
    assert rows[0].ratio > 0
    assert (rows[1].peer, rows[1].ratio, rows[1].note) == (
        "broken",
        None,
        "the peer failed in this run",
    )
    assert running.process.poll() == 0
    with pytest.raises(scripts.suite.PeerError, match="absent"):
        peer.start("absent", {})


def test_a_python_that_is_none_is_refused(scripts, tmp_path):
    with pytest.raises(scripts.suite.PeerError, match="--peer-python"):
        scripts.suite.find_peer(str(tmp_path / "python"))


def test_every_benchmark_of_the_suite_is_a_module_that_measures(scripts):
    # `decoding` and others may be imported only in a process of their own: they set affinity.
    for name in scripts.run.BENCHMARKS:
        assert "\ndef measure(quick: bool, peer: Peer)" in (FOLDER / f"{name}.py").read_text(), name


def test_a_benchmark_that_fails_is_in_the_table_and_the_others_stay(
    scripts, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(scripts.run, "BENCHMARKS", {"absent_module": "nothing"})
    settings = scripts.run.Suite(quick=True, output=tmp_path)
    assert scripts.run.main(settings) == 1
    report = json.loads((tmp_path / "suite_quick.json").read_text())
    assert report["benchmarks"]["absent_module"]["failed"] == "exit code 1"
    assert {"commit", "date", "versions", "processor", "devices"} <= set(report)
    table = (tmp_path / "suite_quick.md").read_text()
    assert "Failed: exit code 1" in table
    assert "quick: small shapes" in table


def test_an_unknown_benchmark_is_refused_before_anything_runs(scripts, capsys, tmp_path):
    assert scripts.run.main(scripts.run.Suite(only=("maze_generatoin",), output=tmp_path)) == 2
    assert "expected some of maze_generation" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_writes_rows_with_ratios(tmp_path):
    command = [sys.executable, str(FOLDER / "run.py"), "--quick", "--output", str(tmp_path)]
    subprocess.run([*command, "--only", "maze_generation", "validation"], check=True)
    report = json.loads((tmp_path / "suite_quick.json").read_text())
    for found in report["benchmarks"].values():
        assert found["rows"]
        for row in found["rows"]:
            assert row["ratio"] > 0
            assert row["quartiles"][0] <= row["ratio"] <= row["quartiles"][1]

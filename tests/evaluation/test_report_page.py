"""The page stands alone, shows what was measured, and marks what nobody verified."""

import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image
from rich.console import Console
from written_runs import write_run

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation import sections
from jaxreason.evaluation.figures import headline
from jaxreason.evaluation.published import PUBLISHED, published
from jaxreason.evaluation.report import write_report
from jaxreason.evaluation.runs import evaluations, read_runs
from jaxreason.evaluation.style import LIGHT
from jaxreason.evaluation.terminal import comparison_table, evaluation_table

REGIMES = ("swapped", "solution_only", "correct")


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return [write_run(root / regime, regime) for regime in REGIMES]


@pytest.fixture(scope="module")
def report(directories, tmp_path_factory):
    return write_report(directories, tmp_path_factory.mktemp("out") / "report")


class _Page(HTMLParser):
    """Collects addresses and checks that elements close in order."""

    void = ("meta", "img", "source", "br")

    def __init__(self):
        super().__init__()
        self.addresses, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [v for k, v in attributes if k in ("src", "href", "srcset", "data")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(path):
    reader = _Page()
    reader.feed(path.read_text())
    return reader


def test_the_page_is_well_formed_and_self_contained(report):
    reader = parsed(report)
    assert reader.open == []
    assert len(reader.addresses) >= 12
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    html = report.read_text()
    assert not re.search(r"https?://|file://|@import|url\(|<script|<link", html)


def test_every_figure_is_a_png_and_a_section(report):
    names = {path.stem for path in report.parent.glob("*.png")}
    assert names == {
        "headline",
        "learning_curves",
        "two_by_two",
        "first_errors",
        "by_length",
        "lengths",
        "mazes_0_solution_only",
        "mazes_1_correct_traces",
        "mazes_2_swapped_traces",
    }
    for name in names:
        with Image.open(report.parent / f"{name}.png") as image:
            assert image.width == 1500


def test_the_json_holds_the_numbers_of_the_page(report):
    numbers = json.loads((report.parent / "report.json").read_text())
    assert list(numbers["regimes"]) == ["solution_only", "correct", "swapped"]
    text = "".join(parsed(report).text)
    for regime in numbers["regimes"].values():
        assert len(regime) == 6
        plan = regime["wilson"]["plan_valid"]
        assert plan["value"] == 0.5
        assert f"50.0 ± {100 * plan['standard_error']:.1f}" in text
    assert numbers["regimes"]["correct"]["wilson"]["trace_valid"]["n"] == 6
    assert numbers["regimes"]["swapped"]["wilson"]["trace_valid"]["value"] == 0.0
    facts = numbers["runs"][0]["facts"]
    assert facts["Training tokens"] == "1,280"
    assert facts["Seeds"] == "training 3"


def test_a_report_written_twice_is_the_same(directories, report, tmp_path):
    again = write_report(directories, tmp_path / "again")
    files = sorted(path.name for path in report.parent.iterdir())
    assert sorted(path.name for path in again.parent.iterdir()) == files
    for name in files:
        assert (again.parent / name).read_bytes() == (report.parent / name).read_bytes(), name


def test_writing_again_replaces_the_old_pictures_and_keeps_other_files(tmp_path):
    run, out = write_run(tmp_path / "run", "correct", evaluated=False), tmp_path / "report"
    write_report([run], out)
    (out / "notes.txt").write_text("mine")
    (out / "mazes_9_old.png").write_bytes(b"old")
    write_report([run], out)
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "mazes_9_old.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "report"}


def test_a_run_without_evaluation_still_shows_its_curves(tmp_path):
    run = write_run(tmp_path / "run", "correct", evaluated=False)
    path = write_report([run])
    assert path == run / "report" / "report.html"
    assert (run / "report" / "learning_curves.png").exists()
    assert not (run / "report" / "headline.png").exists()
    assert "No evaluation yet" in path.read_text()


def test_the_papers_numbers_appear_only_at_its_size_and_always_marked(tmp_path):
    assert published("wilson", "wilson", "swapped", "plan_valid", 10, 10) == []
    assert all(number.text()[-1] in "‡?" for number in PUBLISHED)
    small = read_runs([write_run(tmp_path / "small", "correct", count=1)])
    assert sections.paper_table(small) == ""
    large = read_runs([write_run(tmp_path / "large", "correct", size=30, count=1)])
    table = sections.paper_table(large)
    cells = re.findall(r"<td>(50\.1|79\.9|95\.2)( .)?</td>", table)
    assert cells == [("50.1", " ‡"), ("79.9", " ‡"), ("95.2", " ?")]
    assert "not checked against its tables" in table
    assert "unverified" in table
    with_paper, without = headline(large, LIGHT), headline(small, LIGHT)
    assert with_paper is not None
    assert without is not None


def test_runs_of_one_regime_are_told_apart_and_pooled(tmp_path, directories):
    second = write_run(tmp_path / "second", "correct")
    runs = read_runs([*directories, second])
    assert [run.label for run in runs] == [
        "Solution only",
        "Correct traces #1",
        "Correct traces #2",
        "Swapped traces",
    ]
    out = Console(width=100, file=io.StringIO(), color_system=None)
    out.print(comparison_table(runs))
    text = out.file.getvalue()
    assert "Correct traces (x2)" in text
    assert "no traces" in text


def test_the_terminal_table_fits_80_columns(directories):
    (run,) = read_runs(directories[2:])
    out = Console(width=80, file=io.StringIO(), color_system=None)
    out.print(evaluation_table(run.evaluation))
    lines = out.file.getvalue().splitlines()
    rows = [line.split() for line in lines if line.startswith("Wilson")]
    assert [row[1:4] for row in rows] == [["50.0", "±", "20.4"]] * 2
    assert "…" not in out.file.getvalue()


def test_a_name_cannot_inject_markup(tmp_path):
    run = write_run(tmp_path / "<b>x", "correct", evaluated=False)
    assert "<b>x" not in write_report([run], tmp_path / "out").read_text()


def test_what_is_no_run_is_refused(tmp_path, directories):
    with pytest.raises(FailureError, match=r"not a run directory: it has no config\.json"):
        read_runs([tmp_path])
    with pytest.raises(InputError, match="given twice"):
        read_runs([directories[0], directories[0]])
    other = write_run(tmp_path / "other", "correct", size=7, count=1)
    with pytest.raises(InputError, match=r"width is 7 .* but 6 .*one report for each"):
        read_runs([directories[0], other])
    with pytest.raises(InputError, match="at least one"):
        read_runs([])
    with pytest.raises(InputError, match="there are: step-20"):
        read_runs([directories[0]], "step-99")
    broken = write_run(tmp_path / "broken", "correct", evaluated=False)
    (broken / "config.json").write_text("{")
    with pytest.raises(FailureError, match=r"config\.json cannot be read"):
        read_runs([broken])
    foreign = write_run(tmp_path / "foreign", "correct", evaluated=False)
    (foreign / "evaluation").mkdir()
    (foreign / "evaluation" / "a.json").write_text("{}")
    with pytest.raises(FailureError, match="run `jaxreason evaluate` again"):
        read_runs([foreign])


def test_results_of_benchmarks_stand_beside_evaluations_on_mazes(directories, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(directories[0], run)
    result = {"schema": "26.1", "benchmark": "gqa", "count": 7, "metrics": {"accuracy": 61.25}}
    (run / "evaluation" / "gqa.json").write_text(json.dumps(result))
    assert [path.name for path in evaluations(run)] == ["step-20.json"]
    assert read_runs([run])[0].evaluation["name"] == "step-20"
    (run / "evaluation" / "step-20.json").unlink()
    found = write_report([run], tmp_path / "report")
    assert "61.25 (7)" in found.read_text()
    numbers = json.loads((tmp_path / "report" / "report.json").read_text())
    assert numbers["benchmarks"]["runs"][0]["results"] == [result]

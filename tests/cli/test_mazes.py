"""The command line: what it prints, what it refuses, and with which exit code."""

import hashlib
import io
import json
import os
import subprocess
import sys

import pytest

from jaxreason.cli import main as command
from jaxreason.errors import FailureError

RUN = [sys.executable, "-m", "jaxreason.cli.main"]


@pytest.fixture
def jaxreason(capsys):
    """Runs the command in this process; gives (exit code, standard output, standard error)."""

    def run(*arguments):
        code = command.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def file(tmp_path, jaxreason):
    path = tmp_path / "mazes.jsonl"
    _, lines, _ = jaxreason("mazes", "generate", "--size", 9, "--count", 6, "--seed", 1)
    path.write_text(lines)
    return path


def test_generate_writes_json_lines_that_say_where_they_come_from(jaxreason):
    code, out, err = jaxreason("mazes", "generate", "--generator", "dfs", "--size", 8, "--count", 3)
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["idx"] for record in records] == [0, 1, 2]
    for record in records:
        assert (record["generator"], record["rows"], record["cols"]) == ("dfs", 8, 8)
        assert record["text"].startswith("query start ")
        assert record["text"].endswith(" end")


def test_generate_is_reproducible_and_a_longer_file_begins_with_the_shorter(jaxreason):
    short = jaxreason("mazes", "generate", "--size", 9, "--count", 2)[1]
    longer = jaxreason("mazes", "generate", "--size", 9, "--count", 4)[1]
    other = jaxreason("mazes", "generate", "--size", 9, "--count", 2, "--split", "test")[1]
    assert longer.startswith(short)
    assert other != short


def test_traces_are_optional_and_of_either_kind(jaxreason):
    texts = {
        trace: json.loads(jaxreason("mazes", "generate", "--size", 9, "--trace", trace)[1])["text"]
        for trace in ("none", "astar", "searchformer")
    }
    assert texts["none"].endswith(" reasoning")
    assert texts["astar"].startswith(texts["none"] + " close ")
    assert texts["searchformer"].startswith("start ")
    assert " create " in texts["searchformer"]


def test_paper_compatible_output_is_the_authors_bytes():
    arguments = "mazes generate --generator wilson --count 100 --seed 42 --paper-compatible"
    done = subprocess.run([*RUN, *arguments.split()], capture_output=True, check=True)
    assert hashlib.sha256(done.stdout).hexdigest() == (
        "d6ea0d395cad55778394f7a4dc1fb46dfe9fc8ae74471f640a68588ab8377845"
    )
    assert done.stderr == b""


def test_a_reader_that_goes_away_ends_the_writer_quietly():
    arguments = ["mazes", "generate", "--size", "9", "--count", "100000"]
    with subprocess.Popen([*RUN, *arguments], stdout=-1, stderr=-1) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_sentence_and_exit_1():
    with open("/dev/full", "w") as full:
        arguments = ["mazes", "generate", "--size", "9", "--count", "50"]
        done = subprocess.run([*RUN, *arguments], stdout=full, stderr=-1, text=True)
    assert done.returncode == 1
    assert done.stderr == "jaxreason: No space left on device\n"


@pytest.mark.parametrize("level", ["reference", "strict", "exact"])
def test_validate_finds_generated_responses_valid(jaxreason, file, level):
    code, out, _ = jaxreason("mazes", "validate", file, "--level", level, "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["count"] == summary["plan_valid"] == summary["plan_optimal"] == 6
    assert summary["trace_valid_plan_valid"] == 6
    assert summary["first_trace_errors"] == summary["plan_errors"] == {}


def test_validate_counts_what_is_wrong(jaxreason, file):
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record in records[:2]:
        record["text"] = record["text"].replace(" solution ", " junk solution ")
    records[2]["text"] = records[2]["text"].replace(" solution ", " ")
    records[3]["text"] = records[3]["text"].split(" solution ")[0] + " solution end"
    file.write_text("\n".join(map(json.dumps, records)))
    reference = json.loads(jaxreason("mazes", "validate", file, "--json")[1])
    assert reference["first_trace_errors"] == {"operation_syntax_error": 2}
    assert reference["plan_errors"] == {"plan_syntax_error": 1}
    assert reference["trace_invalid_plan_valid"] == 2
    assert reference["trace_valid_plan_invalid"] == 1
    strict = json.loads(jaxreason("mazes", "validate", file, "--level", "strict", "--json")[1])
    assert strict["first_trace_errors"] == {"operation_syntax_error": 2, "delimiter_error": 1}
    table = jaxreason("mazes", "validate", file)[1]
    assert "operation_syntax_error" in table
    assert "33.3 %" in table


def test_validate_reads_standard_input(jaxreason, file, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    assert json.loads(jaxreason("mazes", "validate", "-", "--json")[1])["count"] == 6


def test_searchformer_lines_are_valid_by_their_own_search(jaxreason, tmp_path):
    path = tmp_path / "searchformer.jsonl"
    path.write_text(
        jaxreason("mazes", "generate", "--size", 9, "--count", 5, "--trace", "searchformer")[1]
    )
    for level, valid in (("exact", 5), ("strict", 5), ("reference", 0)):
        out = jaxreason("mazes", "validate", path, "--level", level, "--json")[1]
        assert json.loads(out)["trace_valid_plan_valid"] == valid
    assert "trace valid (exact)" in jaxreason("mazes", "show", path, "--level", "exact")[1]


def test_show_draws_in_the_terminal_and_into_files(jaxreason, file, tmp_path):
    code, out, _ = jaxreason("mazes", "show", file, "--index", 5)
    assert code == 0
    assert "wilson 9x9" in out
    assert "plan valid" in out
    for name in ("maze.png", "maze.gif"):
        code, out, _ = jaxreason("mazes", "show", file, "--out", tmp_path / name)
        assert (code, out) == (0, f"wrote {tmp_path / name}\n")
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maze"], "unknown subcommand 'maze'; did you mean 'mazes'?"),
        (["--debgu"], "unknown option '--debgu'; did you mean '--debug'?"),
        (["mazes", "generat"], "did you mean 'generate'?"),
        (["mazes", "generate", "--generator", "wilsen"], "did you mean 'wilson'?"),
        (["mazes", "generate", "--sise", "9"], "unknown argument '--sise'; did you mean '--size'?"),
        (["mazes", "generate", "--size", "x"], "--size: expected a whole number, got 'x'"),
        (["mazes", "generate", "--size", "2"], "too small for wilson"),
        (["mazes", "generate", "--count", "-1"], "--count is -1; expected at least 0"),
        (["mazes", "generate", "--paper-compatible", "--trace", "none"], "leave one of them out"),
        (["mazes", "validate"], "FILE is missing"),
        (["mazes", "validate", "absent.jsonl"], "FILE 'absent.jsonl' does not exist"),
        (["mazes", "show", "FILE", "--index", "6"], "--index is 6, but"),
        (["mazes", "show", "FILE", "--out", "x.svg"], "expected .png or .gif"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_2(jaxreason, file, arguments, message):
    arguments = [str(file) if argument == "FILE" else argument for argument in arguments]
    code, out, err = jaxreason(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("jaxreason: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 3: "),
        ('{"words": 1}', "line 3: "),
        ('{"text": "query start 0 0 goal 1"}', "line 3: "),
        (
            '{"text": "query start 0 0 goal 1 1 wall 1 1 reasoning"}',
            "line 3: goal (1, 1) is a wall",
        ),
    ],
)
def test_a_malformed_line_is_named_by_its_number(jaxreason, file, line, message):
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], "", line, lines[1]]))
    code, _, err = jaxreason("mazes", "validate", file)
    assert code == 2
    assert message in err


def test_a_line_that_is_no_text_is_named_by_its_number(jaxreason, file):
    file.write_bytes(file.read_bytes() + b"\xff\xfe\n")
    code, _, err = jaxreason("mazes", "validate", file)
    assert code == 2
    assert "line 7: no UTF-8 text" in err


@pytest.mark.parametrize("name", ["absent/maze.png", "folder.png"])
def test_a_picture_that_cannot_be_written_is_named_and_exit_1(jaxreason, file, tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    code, _, err = jaxreason("mazes", "show", file, "--out", tmp_path / name)
    assert code == 1
    assert f"{str(tmp_path / name)!r} cannot be written: " in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_without_lines_is_refused(jaxreason, tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    code, _, err = jaxreason("mazes", "validate", tmp_path / "empty.jsonl")
    assert code == 2
    assert "holds no lines" in err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (FailureError("the disk is gone"), 1, "the disk is gone"),
        (OSError(28, "No space left on device", "a.png"), 1, "a.png: No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oops"), 1, "internal error, ZeroDivisionError: oops"),
    ],
)
def test_each_kind_of_error_has_its_exit_code(jaxreason, monkeypatch, error, code, message):
    def fail(arguments):
        raise error

    monkeypatch.setattr(command, "_dispatch", fail)
    got, _, err = jaxreason("mazes")
    assert got == code
    assert message in err
    assert "Traceback" not in err
    assert "Traceback" in jaxreason("--debug", "mazes")[2]


def test_help_and_mazes_do_not_load_jax():
    script = (
        "import sys; from jaxreason.cli.main import main; main(['--help']);"
        "assert 'numpy' not in sys.modules;"
        "main(['mazes', 'generate', '--size', '9']); assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in command.SUBCOMMANDS:
        assert name in done.stdout

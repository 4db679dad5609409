"""A benchmark on tiny models: asked, judged, stopped, gone on with, put side by side."""

import json
import shutil
from dataclasses import replace

import pytest
from benchmark_files import GSM8K, MATH500, write_lines, write_mmlu
from tiny_models import write_tiny_model

from jaxreason.cli.main import main
from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.benchmarks import judging
from jaxreason.evaluation.benchmarks.results import AnswerFiles, read_result, read_results
from jaxreason.evaluation.benchmarks.running import (
    BenchmarkRequest,
    results_folder,
    run_benchmark,
)
from jaxreason.evaluation.benchmarks.settings import find_setting

FEWER = ["--shots", "1", "--new-tokens", "8", "--batch-size", "4"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Models and data."""
    root = tmp_path_factory.mktemp("benchmark")
    write_tiny_model(root / "qwen", layers=1)
    settings = {"max_sequence_length": 512}
    write_tiny_model(root / "llada", "llada", layers=1, settings=settings)
    write_lines(root / "gsm8k.jsonl", GSM8K)
    write_lines(root / "train.jsonl", GSM8K[::-1])
    write_lines(root / "math500.jsonl", MATH500)
    write_mmlu(root / "test", "test")
    write_mmlu(root / "dev", "dev", 5)
    return root


@pytest.fixture(scope="module")
def command(files):
    """Runs `jaxreason benchmark` on a model."""

    def run(model, benchmark, data, *more):
        given = ["--benchmark", benchmark, "--data", str(files / data), *more]
        return main(["benchmark", str(files / model), *given])

    return run


@pytest.fixture(scope="module")
def answered(files, command):
    """The folder of results of GSM8K on the next-token model."""
    out = files / "results"
    more = ["--examples", str(files / "train.jsonl"), *FEWER]
    assert command("qwen", "gsm8k", "gsm8k.jsonl", *more, "--out", str(out)) == 0
    return out


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_answer_is_kept_with_its_verdicts(answered):
    document = read_result(answered / "gsm8k-lm-eval.json")
    rows = lines(answered / "gsm8k-lm-eval.jsonl")
    assert (document["count"], document["available"], document["complete"]) == (12, 12, True)
    assert document["identity"]["changed"] == ["shots", "new_tokens"]
    assert document["identity"]["settings"]["new_tokens"] == 8
    assert document["metrics"]["strict-match"]["n"] == 12
    assert document["cut"] == 0
    assert document["prompt"].endswith(f"Question: {GSM8K[0]['question']}\nAnswer:")
    assert [row["number"] for row in rows] == list(range(12))
    for metric, share in document["metrics"].items():
        assert share["successes"] == sum(row[metric]["correct"] for row in rows)
    assert any(row["text"] for row in rows)


def request(files, **more):
    setting = find_setting("gsm8k").with_changes(shots=1, new_tokens=8)
    examples, changed = str(files / "train.jsonl"), ("shots", "new_tokens")
    known = {"batch_size": 4, "changed": changed, "examples": examples}
    known["data"] = str(files / "gsm8k.jsonl")
    return BenchmarkRequest(setting, **{**known, **more})


def test_a_stopped_benchmark_goes_on_where_it_was(files, answered, tmp_path, monkeypatch):
    whole = (answered / "gsm8k-lm-eval.jsonl").read_text()
    document = read_result(answered / "gsm8k-lm-eval.json")
    kept = whole.splitlines(keepends=True)
    out = tmp_path / "out"
    shutil.copytree(answered, out)
    (out / "gsm8k-lm-eval.jsonl").write_text("".join(kept[:9]) + kept[9][:20])
    asked = []
    judged = judging.judged_answers

    def counted(model, setting, questions, *rest):
        asked.append(len(questions))
        return judged(model, setting, questions, *rest)

    monkeypatch.setattr("jaxreason.evaluation.benchmarks.running.judged_answers", counted)
    told = []
    again, path = run_benchmark(
        files / "qwen",
        request(files),
        out=out,
        on_progress=lambda label, done, total: told.append((label, done, total)),
    )
    assert asked == [3]
    assert told == [("gsm8k", 9, 12), ("gsm8k", 12, 12)]
    assert again["metrics"] == document["metrics"]
    assert path == out / "gsm8k-lm-eval.json"
    assert (out / "gsm8k-lm-eval.jsonl").read_text() == whole
    fewer, _ = run_benchmark(files / "qwen", request(files, limit=5), out=out)
    assert (fewer["count"], len(asked)) == (5, 1)  # a limit may change, and nothing is asked


def test_sampled_answers_are_kept_in_whole_groups(answered, tmp_path):
    shutil.copytree(answered, tmp_path / "out")
    identity = read_result(answered / "gsm8k-lm-eval.json")["identity"]
    files = AnswerFiles(tmp_path / "out", "gsm8k-lm-eval", identity)
    assert len(files.resume(False, 5)) == 10
    assert len(lines(files.answers)) == 10
    assert files.resume(True, 1) == []
    assert files.answers.read_text() == ""
    files.answers.write_text('{"number": 1}\n')
    with pytest.raises(FailureError, match=r"line 1 is not the answer of question 0; --restart"):
        files.resume(False, 1)


def test_answers_of_other_settings_are_not_added_to(files, answered, command, capsys):
    more = ["--examples", str(files / "train.jsonl"), *FEWER, "--out", str(answered)]
    assert command("qwen", "gsm8k", "gsm8k.jsonl", *more, "--new-tokens", "9") == 2
    said = capsys.readouterr().err
    assert "another settings: new_tokens 8 instead of 9" in said
    assert "--restart" in said
    (answered / "broken.json").write_text("{")
    with pytest.raises(FailureError, match=r"broken\.json cannot be read"):
        read_results(answered)
    (answered / "broken.json").unlink()


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("max_length", {"max_length": 48}),
        ("seed", {"seed": 3}),
        ("data", {"data": "others.jsonl"}),
        ("tokenizer", {"tokenizer": "llada"}),
        ("weights", {"model": "qwen"}),
        ("prompts", {}),
    ],
)
def test_answers_that_depend_on_anything_else_are_not_added_to(
    files, answered, tmp_path, monkeypatch, field, more
):
    out, model = tmp_path / "out", tmp_path / "qwen"
    shutil.copytree(answered, out)
    document = read_result(out / "gsm8k-lm-eval.json")
    shutil.copytree(files / "qwen", model)
    if "model" in more:  # other weights in the same place
        shutil.rmtree(model)
        write_tiny_model(model, layers=1, seed=5)
    document["identity"]["run"] = str(model.resolve())
    AnswerFiles(out, "gsm8k-lm-eval", {}).write(document)
    if field == "prompts":
        monkeypatch.setattr("jaxreason.evaluation.benchmarks.asking.HARNESS_SEED", 1235)
    write_lines(files / "others.jsonl", GSM8K[1:])
    given = {name: value for name, value in more.items() if name in ("max_length", "seed")}
    if "data" in more:
        given["data"] = str(files / more["data"])
    tokenizer = files / more["tokenizer"] if "tokenizer" in more else None
    before = (out / "gsm8k-lm-eval.jsonl").read_text()
    with pytest.raises(InputError, match=f"answers with another {field}: .*--restart"):
        run_benchmark(model, request(files, **given), out=out, tokenizer=tokenizer)
    assert (out / "gsm8k-lm-eval.jsonl").read_text() == before


def test_thinking_is_of_the_template_and_tells_answers_apart(files):
    setting = find_setting("math500", "qwen-math").with_changes(new_tokens=4)
    data, out = str(files / "math500.jsonl"), files / "thinking"
    asked = BenchmarkRequest(setting, data, limit=1, batch_size=2)
    run_benchmark(files / "qwen", asked, out=out)
    with pytest.raises(InputError, match="another thinking: None instead of True"):
        run_benchmark(files / "qwen", replace(asked, thinking=True), out=out)
    with pytest.raises(InputError, match="lm-eval does not use the chat template"):
        request(files, thinking=True)


def test_choices_are_compared_and_counted_by_subject(files, command, capsys):
    more = ["--examples", str(files / "dev"), "--shots", "1", "--batch-size", "4", "--json"]
    assert command("qwen", "mmlu", "test", *more, "--out", str(files / "mmlu")) == 0
    document = json.loads(capsys.readouterr().out)
    rows = lines(files / "mmlu" / "mmlu-lm-eval.jsonl")
    for row in rows:
        best = max(range(4), key=lambda place: row["nats"][place])
        assert row["acc"] == {"found": "ABCD"[best], "correct": "ABCD"[best] == row["answer"]}
    assert {name: share["n"] for name, share in document["subjects"].items()} == {
        "anatomy": 2,
        "high_school_physics": 1,
    }
    assert document["estimate"] == "exact"


def test_a_diffusion_model_decodes_as_the_settings_say(files, command, capsys):
    more = ["--settings", "d1", "--new-tokens", "8", "--block", "4", "--steps", "4"]
    where = ["--out", str(files / "diffusion"), "--batch-size", "4", "--limit", "3"]
    assert command("llada", "math500", "math500.jsonl", *more, *where) == 0
    assert "the first 3 of 6 questions" in capsys.readouterr().out
    document = read_result(files / "diffusion" / "math500-d1.json")
    assert document["identity"]["settings"]["block"] == 4
    assert document["subjects"]["Prealgebra"]["n"] == 3
    more = ["--settings", "qwen-math", "--out", str(files / "other")]
    assert command("llada", "math500", "math500.jsonl", *more) == 2
    assert "does not say how a diffusion model decodes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("benchmark", "more", "words"),
    [
        ("gsm8k", [], "shows 5 solved examples before each question; give the file"),
        ("gsm8k", ["--settings", "cot", "--examples", "x"], "takes none from a file"),
        ("gsm8k", ["--settings", "cot", "--limit", "-1"], "limit is -1"),
        ("gsm8k", ["--settings", "cot"], "holds published weights"),
        ("gsm8k", ["--settings", "cot", "--out", "o", "--name", "../x"], "name is '../x'"),
        ("mmlu", ["--new-tokens", "5"], "nothing is generated"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_loaded(
    command, capsys, benchmark, more, words
):
    assert command("qwen", benchmark, "gsm8k.jsonl", *more) == 2
    assert words in capsys.readouterr().err


def test_prompts_that_do_not_fit_are_counted(files):
    document, _ = run_benchmark(
        files / "qwen", request(files, limit=2, max_length=48), out=files / "short"
    )
    assert document["cut"] == 2


def test_results_of_a_run_go_into_it(tmp_path):
    (tmp_path / "config.json").write_text('{"kind": "pretrained"}')
    assert results_folder(tmp_path, None) == tmp_path / "evaluation"
    assert results_folder(tmp_path, "else/where").as_posix() == "else/where"


def test_a_request_refuses_numbers_out_of_range(files):
    with pytest.raises(InputError, match="batch_size is 0"):
        request(files, batch_size=0)


def test_runs_stand_side_by_side_with_published_numbers(files, answered, tmp_path, capsys):
    seen = tmp_path / "seen"
    (seen / "evaluation").mkdir(parents=True)
    score = {"schema": "26.1", "benchmark": "vqav2", "count": 7, "metrics": {"accuracy": 71.25}}
    (seen / "evaluation" / "vqav2.json").write_text(json.dumps(score))
    out = tmp_path / "report"
    assert main(["report", str(answered), str(seen), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for words in ("settings lm-eval, but shots 1", "71.25 (7)", "MMaDA-8B", "76.7", "table 4"):
        assert words in said
    page = (out / "report.html").read_text()
    assert "arXiv 2505.15809, table 2" in page
    assert "71.25 (7)" in page
    assert "<script" not in page
    numbers = json.loads((out / "report.json").read_text())["benchmarks"]
    assert [run["label"] for run in numbers["runs"]] == ["results", "seen"]
    assert {n["benchmark"] for n in numbers["published"]} == {"gsm8k", "vqav2"}
    assert main(["report", str(answered), str(answered)]) == 2

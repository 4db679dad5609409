"""The commands on language models: train by a one-page file, evaluate, sample, study."""

import json
from pathlib import Path

import jax
import pytest
from tiny_models import write_tiny_model

from jaxreason.cli.main import main
from jaxreason.cli.options import parse_options
from jaxreason.training.runs import load_experiment

pytest.importorskip("tokenizers")

FOLDER = Path(__file__).parents[2] / "experiments/subnetworks"
SMALL = {
    "llm_grpo": (
        *("--rollout.prompts", "4", "--rollout.group", "2", "--rollout.max-new-tokens", "8"),
        *("--prompt-tokens", "160"),
    ),
    "llm_dpo": ("--batch-size", "4", "--length", "96", "--shown-tokens", "4"),
    "llm_sft": ("--batch.batch-size", "2", "--batch.length", "96", "--shown-tokens", "4"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_tiny_model(folder / "base", layers=1)
    gsm8k = [{"question": f"{i}+1=", "answer": f"so\n#### {i + 1}"} for i in range(12)]
    pairs = [{"prompt": f"{i}", "chosen": "yes", "rejected": "no"} for i in range(12)]
    for name, rows in (("gsm8k", gsm8k), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def options(files, name):
    data = files / ("pairs.jsonl" if name == "llm_dpo" else "gsm8k.jsonl")
    words = ["--base", str(files / "base"), "--data.path", str(data), "--held-out", "4"]
    if name == "llm_grpo":
        words += ["--evaluation.path", str(data)]
    words += ["--train.steps", "2", "--train.accumulation", "1", "--train.evaluate-every", "2"]
    return [*words, *SMALL[name]]


@pytest.mark.parametrize("name", ["llm_grpo", "llm_grpo_8b", "llm_dpo", "llm_sft"])
def test_one_page_configs_take_every_field_as_an_option(name, files):
    default = load_experiment(FOLDER / f"{name}.py")
    small = options(files, name.removesuffix("_8b"))
    words = [*small, "--params-dtype", "bfloat16", "--optimizer.moments-dtype", "bfloat16"]
    found = parse_options(type(default), words, "train", default)
    assert (found.base, found.train.steps) == (str(files / "base"), 2)
    assert (found.params_dtype, found.optimizer.moments_dtype) == ("bfloat16", "bfloat16")


@pytest.mark.slow
def test_the_configs_train_and_one_command_studies_them(files, tmp_path, monkeypatch, capsys):
    pytest.importorskip("math_verify")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    for name in SMALL:
        words = [str(FOLDER / f"{name}.py"), "--run", str(tmp_path / name), *options(files, name)]
        assert main(["train", *words]) == 0
        assert any((tmp_path / name / "completions").iterdir())
    runs = [str(tmp_path / name) for name in SMALL]
    capsys.readouterr()
    assert main(["study", *runs, "--report", str(tmp_path / "study"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["base"] == str(files / "base")
    assert [run["path"] for run in found["runs"]] == runs
    assert len(found["overlap"]["runs"]) == 3
    page = (tmp_path / "study/study.html").read_text()
    assert all(f'href="{name}/compare.html"' in page for name in SMALL)
    assert (tmp_path / "study/llm_sft/compare.html").is_file()
    assert (tmp_path / "study/overlap/overlap.html").is_file()


def test_published_folders_answer_prompts_and_a_file_of_them(files, capsys):
    pytest.importorskip("math_verify")
    base, prompts = str(files / "base"), str(files / "gsm8k.jsonl")
    assert main(["sample", base, "--prompt", "1+1=", "--length", "4"]) == 0
    assert capsys.readouterr().out.endswith("\n")
    words = ["--prompts", prompts, "--count", "3", "--max-new-tokens", "4", "--json"]
    assert main(["evaluate", base, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == 3
    assert 0 <= found["results"][0]["reward"] <= 1
    assert found["results"][0]["means"]["tokens"] <= 4
    assert not (files / "base/evaluation").exists()


def test_what_does_not_fit_a_language_model_is_refused(files, tmp_path, capsys):
    base = str(files / "base")
    for words, message in (
        (["evaluate", base], "--prompts FILE"),
        (["evaluate", base, "--tasks", "plan"], "--tasks is for masked-diffusion models"),
        (["sample", base], "give it a --prompt"),
        (["sample", base, "--prompt", "a", "--block", "8"], "--block is for diffusion"),
        (["study", base], "--base BASE"),
        (["study", base, base, "--base", base], "twice"),
    ):
        assert main(words) == 2
        assert message in " ".join(capsys.readouterr().err.split())


def test_runs_of_two_bases_are_not_studied_together(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        config = {"kind": "language_supervised", "base": f"base_{name}"}
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    assert main(["study", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "started from base_a" in " ".join(capsys.readouterr().err.split())
    assert main(["study", str(tmp_path / "a")]) == 2
    assert "which is not there" in " ".join(capsys.readouterr().err.split())

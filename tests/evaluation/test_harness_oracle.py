"""The harness's own tasks and `hf` models beside ours, on the same tiny random models."""

import datetime
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from harness_tasks import TASKS, write_tasks
from tiny_models import tiny_config, tiny_params, write_tiny_model
from tiny_tokenizers import write_tiny_tokenizer

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """No hub is asked, and nothing stays behind."""
    kept = dict(os.environ)
    home = str(tmp_path_factory.mktemp("home"))
    os.environ |= {"HF_HOME": home, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    yield
    os.environ.clear()
    os.environ |= kept


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("tasks"))


def folder_of(tmp_path_factory, family, chat):
    folder = tmp_path_factory.mktemp(family) / "model"
    write_tiny_model(folder, family)
    write_tiny_tokenizer(folder, chat=chat)
    return folder


@pytest.fixture(
    scope="module", params=[("qwen2", "qwen"), ("llama", "llama3")], ids=["qwen", "llama"]
)
def folder(request, tmp_path_factory):
    return folder_of(tmp_path_factory, *request.param)


def evaluate(model, tasks, **options):
    """What the harness reports of a model on all tasks, and every answer."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_path=str(next(iter(tasks.values())).parent), include_defaults=False
    )
    found = simple_evaluate(
        model=model, tasks=list(tasks), task_manager=manager, bootstrap_iters=0, **options
    )
    samples = {
        name: [sample["resps"] for sample in sorted(rows, key=lambda row: row["doc_id"])]
        for name, rows in found["samples"].items()
    }
    return found["results"], samples


class Date(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def theirs(folder, **options):
    from lm_eval.models.huggingface import HFLM
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = Date

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **options)


def ours(folder, **options):
    from jaxreason.evaluation.harness_lm import JaxreasonLM

    return JaxreasonLM(run=str(folder), **{"batch_size": 4, **options})


def check_same(one, other):
    (results, samples), (expected, answers) = one, other
    for name in TASKS:
        for metric, value in expected[name].items():
            if isinstance(value, float):
                np.testing.assert_allclose(results[name][metric], value, rtol=1e-4, err_msg=metric)
        for got, wanted in zip(samples[name], answers[name], strict=True):
            for a, b in zip(got, wanted, strict=True):
                for x, y in zip(a, b, strict=True):
                    if isinstance(y, str):
                        assert x == y
                    elif isinstance(y, (tuple, list)):
                        assert abs(float(x[0]) - float(y[0])) < 1e-4 * max(1.0, abs(float(y[0])))
                        assert bool(x[1]) == bool(y[1])
                    else:
                        assert abs(float(x) - float(y)) < 1e-4 * max(1.0, abs(float(y)))


def test_all_kinds_of_requests_give_the_same(folder, tasks):
    check_same(evaluate(ours(folder), tasks), evaluate(theirs(folder), tasks))


def test_what_does_not_fit_is_cut_in_the_same_places(folder, tasks):
    short = {"max_length": 48}
    check_same(evaluate(ours(folder, **short), tasks), evaluate(theirs(folder, **short), tasks))


def test_conversations_are_asked_in_the_same_words(folder, tasks):
    chosen = {"apply_chat_template": True, "system_instruction": "You are terse."}
    check_same(evaluate(ours(folder), tasks, **chosen), evaluate(theirs(folder), tasks, **chosen))


def test_settings_over_those_of_the_tasks(folder, tasks):
    chosen = {"gen_kwargs": "max_gen_toks=5", "limit": 2, "num_fewshot": 1}
    check_same(evaluate(ours(folder), tasks, **chosen), evaluate(theirs(folder), tasks, **chosen))


def test_the_command(folder, tasks, tmp_path, capsys):
    from jaxreason.cli.main import main

    out = tmp_path / "found.json"
    files = [str(tasks[name]) for name in ("tiny_choice", "tiny_generate")]
    given = ["--bootstrap", "0", "--samples", "--out", str(out), "--model-args", "max_length=300"]
    assert main(["harness", str(folder), "--tasks", *files, *given]) == 0
    assert "|tiny_choice" in capsys.readouterr().out
    found = json.loads(out.read_text())
    expected, _ = evaluate(theirs(folder), {n: tasks[n] for n in ("tiny_choice", "tiny_generate")})
    for name in ("tiny_choice", "tiny_generate"):
        for metric, value in expected[name].items():
            if metric.startswith(("acc", "exact_match")) and "stderr" not in metric:
                assert float(found["results"][name][metric]) == pytest.approx(float(value))
    assert len(found["samples"]["tiny_choice"]) == 5
    assert main(["harness", str(folder), "--tasks", "nothing"]) == 2
    assert "task 'nothing' is unknown" in capsys.readouterr().err
    assert main(["harness", str(folder), "--tasks", *files, "--model-args", "maxlen=3"]) == 2
    assert "model_args has 'maxlen'; expected" in capsys.readouterr().err


def test_the_harness_own_command_knows_the_model(folder, tasks):
    command = [sys.executable, "-m", "jaxreason.evaluation.harness_lm", "run", "--model"]
    command += ["jaxreason", "--model_args", f"run={folder}", "--tasks", "tiny_choice"]
    command += ["--include_path", str(tasks["tiny_choice"].parent), "--batch_size", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "|tiny_choice" in done.stdout, done.stderr[-2000:]


def test_diffusion_models_are_asked_too(tmp_path, tasks):
    from jaxreason.weights.llada import export_llada
    from jaxreason.weights.llada_settings import LladaMetadata

    config = tiny_config("llama", layers=1, kv_heads=4, attention="bidirectional")
    metadata = LladaMetadata("full", None, 0, 299, 295, 298)
    export_llada(tiny_params(config), tmp_path / "model", config, metadata=metadata)
    write_tiny_tokenizer(tmp_path / "model", chat="llada")
    lm = ours(tmp_path / "model", max_length=128, draws=4, block=4)
    results, samples = evaluate(lm, {n: tasks[n] for n in ("tiny_choice", "tiny_generate")})
    asked = [("What is 2 plus 3?", f" {choice}") for choice in ("four", "five", "six apples")]
    bounds = [float(one[0][0]) for one in samples["tiny_choice"][0]]
    assert bounds == pytest.approx([nats for nats, _ in lm.model.loglikelihood(asked)])
    assert 0 <= results["tiny_choice"]["acc,none"] <= 1
    assert lm.get_model_info()["estimate"] == "evidence bound"

"""The harness's own tasks and `hf` models beside ours, on the same tiny random models."""

import os

import numpy as np
import pytest
from harness_tasks import TASKS, write_tasks
from tiny_models import write_tiny_model
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


def theirs(folder, **options):
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3, **options)


def ours(folder, **options):
    from jaxreason.evaluation.harness_lm import JaxreasonLM

    return JaxreasonLM(run=str(folder), **{"batch_size": 4, **options})


def numbers(answers):
    """Log-probabilities and verdicts in one array, or the texts."""
    flat = [
        each for row in answers for one in row for each in (one if isinstance(one, list) else [one])
    ]
    return flat


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

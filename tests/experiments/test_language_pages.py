"""The one-page files on language models read the official layouts they name, as shipped."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_model

from jaxreason.cli.options import parse_options
from jaxreason.data.language import pair_arrays
from jaxreason.errors import InputError
from jaxreason.training.runs import load_experiment

pytest.importorskip("tokenizers")

ROOM = Path(__file__).parents[2] / "experiments"
PAGES = sorted([*ROOM.glob("subnetworks/llm_*.py"), *ROOM.glob("mmada/llm_*.py")])
NAMES = [page.stem for page in PAGES]
WORDS = [page for page in PAGES if "pictures" not in page.stem]
"""Pages whose data are texts alone; pictures need files of their own."""
TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
OTHER = [TURNS[0], {"role": "assistant", "content": "No."}]
OFFICIAL = {
    "gsm8k": {
        "question": "A hen lays 2 eggs. How many do 8 lay?",
        "answer": "They lay 8*2=<<8*2=16>>16 eggs.\n#### 16",
    },
    "math": {
        "problem": "What is $\\frac12 + \\frac12$?",
        "level": "Level 1",
        "type": "Prealgebra",
        "solution": "It is $\\boxed{1}$.",
    },
    "ultrafeedback": {
        **{"prompt": "Why?", "prompt_id": "a", "messages": TURNS},
        **{"chosen": TURNS, "rejected": OTHER, "score_chosen": 8.0, "score_rejected": 4.0},
    },
}
"""Data set, as the folder in a page's paths is called, to a row as it is published."""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Tiny bases, and a place for data."""
    room = tmp_path_factory.mktemp("pages")
    write_tiny_model(room / "qwen2", layers=1)
    write_tiny_model(room / "llada", "llada", layers=1)
    return room


def official(path, room):
    """The data file that a page names, with published rows in it."""
    row, file = OFFICIAL[path.split("/")[1]], room / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".jsonl":
        file.write_text((json.dumps(row) + "\n") * 8)
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([row] * 8), file)
    return str(file)


def tiny(page, room):
    """The page's experiment with a tiny base and a few rows of its data, and nothing else."""
    experiment = load_experiment(page)
    changes = {"base": str(room / ("llada" if page.parent.name == "mmada" else "qwen2"))}
    for name in ("data", "evaluation"):
        config = getattr(experiment, name)
        if config.path:
            path = official(config.path, room)
            changes[name] = dataclasses.replace(config, path=path)
    return dataclasses.replace(experiment, held_out=2, **changes)


def read(experiment):
    """What is trained on, encoded as a run of the experiment encodes it: tokens of examples."""
    base = experiment.base_shapes()
    if hasattr(experiment, "task"):
        task = experiment.task(base)
        return [task.source.problem(0).tokens] * len(task.source)
    records = experiment.records()[0]
    if hasattr(experiment, "coder"):
        coder = experiment.coder(base)
        if hasattr(experiment, "questions"):
            return [question.tokens for question in experiment.questions(records, coder).questions]
        source = experiment.source(records, coder)
        return [source.row(i, "lm_chat").tokens for i in range(source.count("lm_chat"))]
    tokenizer = experiment.open_tokenizer(base.model)
    if hasattr(experiment, "batch"):
        source = experiment.source(records, tokenizer)
        return [source[i]["tokens"] for i in range(len(source))]
    kept = {"template": experiment.template, "overflow": experiment.overflow}
    return list(pair_arrays(records, tokenizer, experiment.length, **kept).arrays["tokens"])


def test_every_page_is_looked_at():
    assert set(NAMES) >= {"llm_sft", "llm_dpo", "llm_grpo", "llm_grpo_8b", "llm_unigrpo"}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_fields_of_a_page_agree(page):
    experiment = load_experiment(page)
    assert json.loads(json.dumps(experiment.as_json()))["kind"] == experiment.kind
    assert experiment.optimizer.warmup_steps < experiment.optimizer.total_steps
    updates = getattr(experiment, "updates_per_step", lambda: 1)()
    assert experiment.optimizer.total_steps == experiment.train.steps * updates
    assert experiment.train.steps % experiment.train.evaluate_every == 0
    assert experiment.train.steps % experiment.train.save_every == 0
    assert not hasattr(experiment, "check_rows") or experiment.check_rows(None) is None
    assert f"{page.parent.name}/{page.name}" in page.read_text()  # the command that it tells


@pytest.mark.parametrize("page", WORDS, ids=[page.stem for page in WORDS])
def test_a_page_reads_the_rows_that_are_published(page, room):
    if "reinforcement" in load_experiment(page).kind:
        pytest.importorskip("math_verify")
    found = read(tiny(page, room))
    assert len(found) >= 6
    assert all(np.asarray(tokens).size > 4 for tokens in found)


def test_the_page_on_preferences_does_kto_as_it_tells(room):
    page = ROOM / "subnetworks/llm_dpo.py"
    told = page.read_text().split("--method kto")[1].split('"""')[0].split("\n\n")[0]
    words = ["--method", "kto", *told.replace("\\", " ").split()]
    default = load_experiment(page)
    found = parse_options(type(default), words, "train", default)
    assert (found.method, found.batch_size, found.train.accumulation) == ("kto", 8, 1)
    assert found.check_rows(None) is None
    data = room / "labelled.jsonl"
    rows = [{"prompt": "Why?", "completion": "So.", "label": bool(n % 2)} for n in range(8)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = dataclasses.replace(found.data, path=str(data))
    tiny_one = dataclasses.replace(found, base=str(room / "qwen2"), data=config, held_out=2)
    assert len(read(tiny_one)) == 6
    with pytest.raises(InputError, match="accumulation is 32"):
        parse_options(type(default), words[:-2], "train", default)

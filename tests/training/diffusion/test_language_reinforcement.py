"""Online RL of a diffusion language model on questions in words, from a folder as published."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="install the extra `hf`")

from tiny_models import write_tiny_model

from jaxreason.cli.main import main
from jaxreason.data.language import DataConfig
from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.noising import draw_noise
from jaxreason.objectives.diffusion.policy import noised_log_probabilities
from jaxreason.objectives.diffusion.token_scores import token_log_probabilities
from jaxreason.rewards import Reward
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_experiment import DiffusionLanguageReinforcement
from jaxreason.training.diffusion.language_task import language_sampler, texts_of
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.metrics import read_metrics
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import experiment_from_json, load_run, read_config

FILE = str(Path(__file__).parents[3] / "experiments/mmada/llm_unigrpo.py")
QUESTIONS = [
    {"question": f"What is {i} + {j}?" + " Think!" * (3 * i), "answer": f"Easy. #### {i + j}"}
    for i in range(4)
    for j in range(4)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny LLaDA in bfloat16 as published, and questions beside it."""
    folder = tmp_path_factory.mktemp("published")
    write_tiny_model(folder / "llada", "llada", dtype="bfloat16", layers=1)
    lines = "".join(json.dumps(question) + "\n" for question in QUESTIONS)
    (folder / "questions.jsonl").write_text(lines)
    return folder


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def experiment(folder, **fields):
    data = DataConfig(path=str(folder / "questions.jsonl"), kind="prompts", answer_mark="####")
    train = {"steps": 3, "log_every": 1, "save_every": 1} | fields.pop("train", {})
    decoding = {"length": 8, "block": 4, "temperature": 1.0} | fields.pop("decoding", {})
    optimizer = {"learning_rate": 1e-2, "warmup_steps": 0, "total_steps": 6, "eps": 0.1}
    rollout = {"prompts": 2, "group": 4} | fields.pop("rollout", {})
    fields = {"evaluation": data, "instruction": "none", "overrides": {"updates": "2"}} | fields
    return DiffusionLanguageReinforcement(
        base=fields.pop("base", str(folder / "llada")),
        data=dataclasses.replace(data, **fields.pop("data", {})),
        held_out=3,
        held_out_batch=4,
        prompt_tokens=fields.pop("prompt_tokens", 192),
        rollout=DiffusionRolloutConfig(**rollout),
        decoding=DecodingConfig(**decoding),
        optimizer=OptimizerConfig(**(optimizer | fields.pop("optimizer", {}))),
        train=TrainConfig(**train),
        **fields,
    )


def count_letters(e):
    """A reward of texts that a model without any knowledge already varies in."""
    del e

    def reward(problems, texts):
        values = np.array([sum(c.isascii() and c.isalpha() for c in t) for t in texts], np.float32)
        return Reward(values, {"letters": values, "right": np.zeros(len(problems), np.float32)})

    return reward


def test_rows_are_scored_as_they_were_sampled_whatever_the_lengths_beside_them(folder):
    """Along the trace of the sampler, batched with padding; and each row alone, without any."""
    e = experiment(folder)
    base = load_run(e.base)
    assert base.experiment.mask_mode == "full"
    model = Transformer(dataclasses.replace(base.model.config, dtype="float32"))
    params = jax.tree.map(lambda x: x.astype(jnp.float32), base.params)
    # End tokens are written early and often, as by LLaDA, before what stands before them.
    eos = base.experiment.eos
    params["head"] = params["head"].at[:, eos].multiply(40.0)
    coder = e.coder(base)
    task = e.questions(e.records()[0], coder)
    prompts = task.prompts([0, 15, 5])
    assert len(set(prompts["lengths"].tolist())) == 3
    assert prompts["tokens"].shape[1] % 64 == 0
    sampler, steps = language_sampler(model, coder, DecodingConfig(16, temperature=1.0), 2)
    answers = jax.device_get(sampler(params, prompts, jax.random.key(1)))
    rows = task.rows(prompts, answers, 2).rows
    filled = rows["maskable"] & ~rows["counted"] & (rows["order"] >= 0)
    assert filled.any()
    assert (rows["tokens"][filled] == eos).all()
    algorithm = dataclasses.replace(DIFFUSION_ALGORITHMS["trace_rl"], updates=1)
    noise = draw_noise(algorithm, rows, jax.random.key(0), group=2, steps=steps)
    batch = {**rows, "masked": noise.masked[0], "weights": noise.weights[0]}
    mask = coder.ids.mask
    found = noised_log_probabilities(model, params, batch, mask_id=mask)
    found = np.asarray(found).sum(axis=1)

    @jax.jit
    def score(noisy, targets):
        everywhere = jnp.ones(noisy.shape, bool)
        return token_log_probabilities(model, params, noisy, targets, everywhere)

    compared = 0
    for row in (0, 2, 5):
        places = np.flatnonzero(rows["counted"][row])
        real = int(prompts["lengths"][row // 2]) + 16
        tokens, order = rows["tokens"][row, :real], rows["order"][row, :real]
        after = (rows["maskable"] & ~rows["counted"])[row, :real]
        # What the sampler saw before the step that revealed a place; a line for each place.
        hidden = (order >= order[places, None]) | (after & (order < 0))
        noisy = np.where(hidden, mask, tokens)
        targets = np.broadcast_to(tokens, noisy.shape)
        line = np.arange(len(places)), places
        alone, masks = (score(noisy, x)[line] for x in (targets, np.full_like(targets, mask)))
        np.testing.assert_allclose(found[row, places], alone, atol=2e-4)
        # The sampler never writes the mask, which the scorer does not know.
        said = answers.log_probabilities[row, : len(places)]
        # Other words that it wrote after the end, at steps that are not known, are not kept.
        unknown = min(set(range(17)) - set(order.tolist()))
        same = order[places] <= unknown
        compared += int(same.sum())
        said_alone = alone - np.log1p(-np.exp(masks))
        np.testing.assert_allclose(said_alone[same], said[same], atol=5e-4)
    assert compared > 16


def test_the_files_run_is_cut_and_continued_to_the_same_bits(folder, tmp_path, monkeypatch):
    """The 8B run at toy size, moments in bfloat16 too; it keeps answers, and the tokenizer."""
    monkeypatch.setattr(DiffusionLanguageReinforcement, "text_reward", count_letters)
    questions = tmp_path / "questions.jsonl"
    questions.write_text((folder / "questions.jsonl").read_text())
    fields = {"base": folder / "llada", "data.path": questions, "evaluation.path": questions}
    fields |= {"held-out": 3, "instruction": "none", "decoding.length": 8, "decoding.block": 4}
    fields |= {"rollout.prompts": 2, "rollout.group": 4, "overrides": ["updates", 2]}
    fields |= {"train.steps": 2, "train.evaluate-every": 2, "train.accumulation": 2}
    fields |= {"train.save-every": 1, "optimizer.learning-rate": 0.01, "loss-chunk": 64}
    words = [w for k, v in fields.items() for w in (f"--{k}", *(v if k == "overrides" else [v]))]
    assert main(["train", FILE, "--run", str(tmp_path / "whole"), *map(str, words)]) == 0
    whole = experiment_from_json(read_config(tmp_path / "whole"))
    assert (whole.params_dtype, whole.optimizer.moments_dtype) == ("bfloat16", "bfloat16")
    for steps in (1, 2):
        train = dataclasses.replace(whole.train, steps=steps, evaluate_every=0)
        dataclasses.replace(whole, train=train).run(tmp_path / "cut", progress=False)
    run, cut = (load_run(tmp_path / name) for name in ("whole", "cut"))
    jax.tree.map(np.testing.assert_array_equal, run.params, cut.params)
    rows = [row for row in read_metrics(tmp_path / "whole/metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["gradient_norm"] > 0 for row in rows)

    kept = {path.name: path.read_text() for path in (tmp_path / "whole/completions").iterdir()}
    assert sorted(kept) == [f"held_out-{n:08d}.txt" for n in (0, 2)] + ["rollout-00000000.txt"]
    assert "What is 0 + 1?" in kept["held_out-00000002.txt"]

    assert run.experiment.kind == "imported"
    assert jax.tree.leaves(run.params)[0].dtype == jnp.bfloat16
    start = load_run(whole.base).params
    moved = jax.tree.leaves(jax.tree.map(lambda a, b: bool(jnp.any(a != b)), run.params, start))
    assert any(moved)
    again = dataclasses.replace(whole, base=str(tmp_path / "whole"))
    before, after = (e.coder(e.base_shapes()).tokenizer for e in (whole, again))
    # The run's copy says besides that the template's end of a turn ends an answer.
    for name in ("size", "tokenizer", "templates"):
        assert before.identity[name] == after.identity[name]
    assert set(before.stops) <= set(after.stops) == set(before.chat_stops)

    changed = [QUESTIONS[0] | {"answer": "#### 7"}, *QUESTIONS[1:]]
    questions.write_text("".join(json.dumps(question) + "\n" for question in changed))
    longer = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=3))
    with pytest.raises(InputError, match="the prompts are other ones"):
        longer.run(tmp_path / "cut", progress=False)


def test_an_answer_is_decoded_up_to_its_end(folder):
    e = experiment(folder)
    coder = e.coder(load_run(e.base))
    ids, written = coder.ids, coder.tokenizer.encode("It is 5.")
    for end in (ids.eos, ids.eot):
        tokens = np.concatenate([written, [end], np.full(3, ids.mask)])
        assert coder.answer(tokens, written.size + 1) == "It is 5."
    # Ids that only the model has, such as those of images.
    assert coder.answer(np.array([*written, ids.size - 1]), written.size + 1) == "It is 5."


def test_prompts_are_those_of_the_template_or_of_mmada(folder):
    e = experiment(folder, instruction="mmada")
    coder = e.coder(load_run(e.base))
    prompt = coder.prompt([{"role": "user", "content": "What is 1 + 1?"}])
    shown = coder.tokenizer.decode(prompt, skip_special=False)
    assert shown.startswith("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nYou should")
    assert shown.endswith(
        "What is 1 + 1?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    own = dataclasses.replace(coder, template="mmada", instruction="")
    shown = coder.tokenizer.decode(
        own.prompt([{"role": "user", "content": "What?"}]), skip_special=False
    )
    assert shown == (
        "<|startoftext|><|start_header_id|>user<|end_header_id|>\nWhat?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n"
    )
    with pytest.raises(InputError, match="spells the mask"):
        coder.prompt([{"role": "user", "content": "<|mdm_mask|>"}])


def test_the_papers_rewards_are_those_of_texts(folder):
    e = experiment(folder, recipe="mmada")
    task = e.questions(e.records()[0], e.coder(load_run(e.base)))
    texts = ["<think> 0 + 1 </think> 1", "1", "<think> 0 + 1 </think> 2", "no idea"]
    found = e.text_reward()([task.problem(1).record] * 4, texts)
    assert found.values.tolist() == [2.5, 2.0, 0.5, 0.0]
    d1 = experiment(folder, recipe="d1", place="tagged").text_reward()
    text = "<reasoning>\nadd\n</reasoning>\n<answer>\n1\n</answer>\n"
    assert d1([task.problem(1).record], [text]).values[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recipe": "mamada"}, "recipe is 'mamada'"),
        ({"template": "chatml"}, "template is 'chatml'"),
        ({"weights": {"beauty": 1.0}}, "'beauty'"),
        ({"overflow": "cut"}, "overflow is 'cut'"),
        ({"decoding": {"length": 0}}, "decoding.length is 0"),
        ({"decoding": {"temperature": 0.0}}, "decoding.temperature is 0"),
        ({"prompt_tokens": 0}, "prompt_tokens is 0"),
        ({"data": {"kind": "chat", "answer_mark": ""}}, "data.kind is 'chat'"),
        ({"method": "grpo"}, "method is 'grpo'"),
    ],
)
def test_bad_fields_are_named_before_anything_is_read(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        experiment(tmp_path, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_tokens": 20}, r"questions.jsonl, line 1: the prompt has \d+ tokens"),
        ({"prompt_tokens": 20, "overflow": "drop"}, "no prompt has at most 20 tokens"),
        ({"data": {"answer_mark": "@@@@"}}, "questions.jsonl, line 1"),
        ({"rollout": {"prompts": 32}}, "problems is 16"),
        ({"train": {"accumulation": 3}}, r"train.accumulation \(3\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_drawn(folder, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        experiment(folder, **fields).run(tmp_path / "run", progress=False)


def test_bases_that_are_none_are_named(folder, tmp_path):
    write_tiny_model(tmp_path / "qwen", "qwen2", layers=1)
    with pytest.raises(InputError, match="expected LLaDA or MMaDA weights"):
        experiment(folder, base=str(tmp_path / "qwen")).run(tmp_path / "run", progress=False)
    write_tiny_model(tmp_path / "bare", "llada", layers=1, tokenizer=False)
    with pytest.raises(InputError, match=r"has no tokenizer.json; --tokenizer FOLDER"):
        experiment(folder, base=str(tmp_path / "bare")).run(tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="expected the model's own tokenizer"):
        experiment(folder, base=str(tmp_path / "bare"), tokenizer=str(tmp_path / "qwen")).run(
            tmp_path / "run", progress=False
        )
    with pytest.raises((InputError, FailureError), match="nowhere"):
        experiment(folder, base=str(tmp_path / "nowhere")).run(tmp_path / "run", progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("method", DIFFUSION_ALGORITHMS)
def test_every_published_algorithm_learns_from_words(folder, tmp_path, monkeypatch, method):
    monkeypatch.setattr(DiffusionLanguageReinforcement, "text_reward", count_letters)
    overrides = {"block": "4"} if method == "spg" else {}
    whole = experiment(
        folder, method=method, overrides=overrides, params_dtype="bfloat16", train={"steps": 1}
    )
    whole.run(tmp_path, progress=False)
    row = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row][-1]
    assert row["gradient_norm"] > 0
    assert row["skipped"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["unigrpo", "diffu_grpo", "espo"])
def test_the_reward_rises(folder, tmp_path, monkeypatch, method):
    monkeypatch.setattr(DiffusionLanguageReinforcement, "text_reward", count_letters)
    whole = experiment(
        folder,
        method=method,
        overrides={"updates": "2", "kl_coefficient": "0.0"},
        rollout={"prompts": 4, "group": 8},
        optimizer={"learning_rate": 5e-3, "eps": 1e-8, "schedule": "constant", "weight_decay": 0.0},
        train={"steps": 40, "save_every": 40},
    )
    whole.run(tmp_path, progress=False)
    rewards = [row["reward"] for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 1.5


@pytest.mark.slow
def test_a_mesh_draws_and_learns_the_same(folder, tmp_path, monkeypatch):
    from jaxreason.sharding.mesh import MeshConfig

    monkeypatch.setattr(DiffusionLanguageReinforcement, "text_reward", count_letters)
    # In bfloat16 sums over devices round otherwise.
    fields = {"compute_dtype": "float32", "rollout": {"prompts": 4, "group": 2}}
    fields |= {"train": {"steps": 2, "evaluate_every": 2}}
    alone = experiment(folder, **fields).run(tmp_path / "alone", progress=False)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    real = jax.devices
    monkeypatch.setattr(jax, "devices", lambda *given: real(*given)[:4])
    spread = experiment(folder, **fields, mesh=MeshConfig(replica=2, fsdp=2))
    together = spread.run(tmp_path / "mesh", progress=False)
    a, b = jax.device_get((alone.state.params, together.state.params))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), a, b)
    texts = [
        (tmp_path / name / "completions/rollout-00000000.txt").read_text()
        for name in ("alone", "mesh")
    ]
    assert texts[0] == texts[1]


def test_texts_are_decoded_row_by_row(folder):
    e = experiment(folder)
    base = load_run(e.base)
    coder = e.coder(base)
    task = e.questions(e.records()[0], coder)
    sampler, _ = language_sampler(base.model, coder, e.decoding)
    answers = jax.device_get(sampler(base.params, task.prompts([1, 2]), jax.random.key(0)))
    texts = texts_of(coder, answers)
    assert len(texts) == 2
    assert texts[0] == coder.answer(answers.tokens[0], int(answers.lengths[0]))

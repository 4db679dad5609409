"""Block diffusion in supervised training: rows and blocks, training, exact cached decoding."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.evaluation.diffusion import answering
from jaxreason.models import TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.token_scores import token_scores
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.held_out import Judge
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import load_run, read_experiment

BLOCK = 6
TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, minimum_path_cells=None, count=24),
    model=TransformerConfig(0, 2, 16, 2, 2, 8, 32, tied=False, attention="block_causal"),
    blocks=BlockTraining(BLOCK),
    rows={"plan": 4, "read_plan": 2, "text": 2},
    decoding=DecodingConfig(block=BLOCK),
    optimizer=OptimizerConfig(warmup_steps=1, total_steps=2),
    train=TrainConfig(steps=2, log_every=1, save_every=1),
    held_out=0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of both steps, and its result."""
    directory = tmp_path_factory.mktemp("runs") / "straight"
    return directory, TINY.run(directory, progress=False)


@pytest.fixture(scope="module")
def told():
    """A model whose answers differ from maze to maze: random parameters, larger than usual."""
    model = TINY.transformer()
    params = model.init(jax.random.key(3))
    return model, {**params, "layers": jax.tree.map(lambda x: 3 * x, params["layers"])}


def test_a_run_stopped_and_resumed_ends_with_the_same_bits(trained, tmp_path):
    directory, straight = trained
    one = dataclasses.replace(TINY, train=dataclasses.replace(TINY.train, steps=1))
    one.run(tmp_path, progress=False)
    resumed = TINY.run(tmp_path, progress=False)
    jax.tree.map(np.testing.assert_array_equal, straight.state.params, resumed.state.params)
    run = load_run(directory)
    assert (run.step, run.experiment) == (2, TINY)
    losses = [json.loads(line).get("loss") for line in (directory / "metrics.jsonl").open()]
    assert np.isfinite([loss for loss in losses if loss is not None]).all()


def test_a_run_without_blocks_is_described_without_them(tmp_path):
    attention = dataclasses.replace(TINY.model, attention="bidirectional")
    plain = dataclasses.replace(TINY, blocks=BlockTraining(), model=attention)
    assert "blocks" not in plain.as_json()
    (tmp_path / "config.json").write_text(json.dumps(plain.as_json()))
    assert read_experiment(tmp_path) == plain


@pytest.mark.parametrize("block", [1, 6, 8, 12])
def test_rows_are_whole_blocks_whatever_the_block(block):
    experiment = dataclasses.replace(
        TINY, blocks=BlockTraining(block), decoding=DecodingConfig(block=block)
    )
    layout = experiment.source().layout
    assert layout.length % block == 0
    given = dataclasses.replace(experiment.world, text_length=layout.text_length + 1)
    if block > 1:
        with pytest.raises(InputError, match=rf"blocks of {block} need {layout.text_length} or"):
            dataclasses.replace(experiment, world=given).source()


@pytest.mark.parametrize("task", ["plan", "read_plan", "text"])
def test_the_sampler_sees_the_blocks_that_were_trained(told, task):
    """The first token revealed has the probability that the objective gives it in that place."""
    model, params = told
    source = TINY.source()
    prompts = source.prompts(range(4), task)
    lengths = prompts["lengths"]
    ids = source.vocabulary.ids
    decoding = TINY.decoding.text(source.answer_room(task))
    decoding = dataclasses.replace(decoding, suppress_mask=False)
    sampler = diffusion_text(model, decoding, mask_id=ids.mask, eos=ids.eos, pad=ids.pad)
    found = sampler(params, prompts, jax.random.key(0))
    tokens = np.full((4, source.layout.length), ids.eos, np.int32)
    inputs = np.full_like(tokens, ids.mask)
    first = np.argmin(np.where(found.order < 0, 999, found.order), axis=1)
    for row, length in enumerate(lengths):
        known = prompts["tokens"][row, :length]
        tokens[row, :length], inputs[row, :length] = known, known
        tokens[row, length + first[row]] = found.tokens[row, first[row]]
    scores = token_scores(model, params, jnp.asarray(inputs), jnp.asarray(tokens), block=BLOCK)
    rows = np.arange(4)
    np.testing.assert_allclose(
        found.log_probabilities[rows, first], -scores.losses[rows, lengths + first], atol=1e-3
    )
    assert (lengths % BLOCK).any(), "prompts that end inside a block are what this is about"
    if task != "plan":
        return  # one place of the first block of `text` is the answer's: little to be seen
    # The same tokens in other blocks are seen otherwise.
    other = token_scores(model, params, jnp.asarray(inputs), jnp.asarray(tokens), block=1)
    difference = np.abs(scores.losses - other.losses)[rows, lengths + first]
    assert difference.max() > 0.02


def test_the_cache_of_blocks_is_exact(told):
    model, params = told
    answers = {}
    for cache in ("none", "block"):
        decoding = DecodingConfig(block=BLOCK, cache=cache)
        judge = Judge(dataclasses.replace(TINY, decoding=decoding), model, mazes=6)
        answers[cache] = judge.answer(params, "plan").words
    np.testing.assert_array_equal(answers["none"].tokens, answers["block"].tokens)
    np.testing.assert_array_equal(answers["none"].steps, answers["block"].steps)
    assert len(np.unique(answers["none"].tokens, axis=0)) > 1


def test_edits_are_decoded_in_the_blocks_that_were_trained(told, monkeypatch):
    """The decoder gets the blocks, rows of whole ones; with its cache nothing changes."""
    model, params = told
    edits, made = {}, answering.infill
    for cache in ("none", "block"):
        decoding = DecodingConfig(block=BLOCK, cache=cache)
        judge = Judge(dataclasses.replace(TINY, decoding=decoding), model, mazes=2)
        seen = []

        def remember(model, config, seen=seen, **ids):
            seen.append(config)
            return made(model, config, **ids)

        monkeypatch.setattr(answering, "infill", remember)
        shown = answering.edited_words(judge, params, "plan", 2, "plan 0 _ plan _ _ end", 0)
        assert (seen[0].block, seen[0].cache, seen[0].length % BLOCK) == (BLOCK, cache, 0)
        edits[cache] = [answer.answer for answer in shown]
    assert edits["none"] == edits["block"]
    assert all(len(answer) == 7 for answer in edits["none"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {"draw_maze": 2}}, "rows has task 'draw_maze' .* pictures are decoded in one"),
        ({"decoding": DecodingConfig(block=4)}, "decoding.block is 4 and blocks.length 6"),
        ({"decoding": DecodingConfig(block=6, cache="dual")}, "decoding.cache is 'dual'"),
        ({"blocks": BlockTraining()}, "'block_causal'; masked diffusion without blocks needs"),
        ({"objective": MaskedDiffusionConfig(normalisation="elbo")}, "objective is set and"),
        (
            {"model": dataclasses.replace(TINY.model, attention="bidirectional")},
            r"'bidirectional'; block diffusion \(blocks.length 6\) needs 'block_causal'",
        ),
    ],
)
def test_settings_that_do_not_go_with_blocks_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(TINY, **changes)


def test_values_out_of_range_are_refused_by_name():
    with pytest.raises(InputError, match=r"blocks.length is -1"):
        BlockTraining(-1)
    with pytest.raises(InputError, match=r"blocks: least_ratio=0"):
        BlockTraining(4, least_ratio=0.0)


def test_reinforcement_refuses_a_base_of_blocks(trained):
    from jaxreason.training.diffusion.reinforcement_task import check_base

    directory, _ = trained
    with pytest.raises(InputError, match=r"block-diffusion model \(blocks.length 6\)"):
        check_base(load_run(directory), str(directory), "plan")

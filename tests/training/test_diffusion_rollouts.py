"""Rows that a diffusion policy learns from: prompt and answer as the sampler saw them."""

import jax
import numpy as np
import pytest

from jaxreason.data.multimodal.maze_world import MazeWorld, MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.noising import draw_noise
from jaxreason.sampling.diffusion.images import ImageCompletions
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.rollouts import (
    DiffusionRolloutConfig,
    picture_rows,
    sampler_of,
    text_rows,
    widen_prompts,
)
from jaxreason.types import Completions

PAD = 9


def completions(tokens, lengths, order):
    return Completions(
        np.array(tokens, np.int32),
        np.zeros(np.shape(tokens), np.float32),
        np.array(lengths, np.int32),
        np.ones(len(tokens), bool),
        np.array(order, np.int32),
    )


def test_an_answer_follows_its_prompt_and_padding_ends_the_row():
    prompts = {"tokens": np.array([[1, 2, 3], [4, PAD, PAD]], np.int32), "lengths": [3, 1]}
    prompts["lengths"] = np.array(prompts["lengths"], np.int32)
    drawn = [[5, 9, 9, 9], [5, 6, 7, 8], [6, 7, 9, 9], [9, 9, 9, 9]]
    order = [[0, 3, -1, -1], [3, 2, 1, 0], [1, 1, 2, -1], [0, -1, -1, -1]]
    rows = text_rows(prompts, completions(drawn, [2, 4, 3, 1], order), 2, PAD)
    assert rows["tokens"].tolist() == [
        [1, 2, 3, 5, 9, 9, 9],
        [1, 2, 3, 5, 6, 7, 8],
        [4, 6, 7, 9, 9, PAD, PAD],
        [4, 9, 9, 9, 9, PAD, PAD],
    ]
    assert rows["keys"].sum(axis=1).tolist() == [7, 7, 5, 5]
    assert rows["maskable"].astype(int).tolist()[2] == [0, 1, 1, 1, 1, 0, 0]
    assert rows["counted"].sum(axis=1).tolist() == [2, 4, 3, 1]
    assert rows["order"].tolist()[0] == [-1, -1, -1, 0, 3, -1, -1]
    assert rows["order"].tolist()[2] == [-1, 1, 1, 2, -1, -1, -1]


def test_the_answer_of_a_picture_is_its_image_tokens():
    image = np.array([[False, False, True, True, False]])
    prompts = {
        "tokens": np.array([[PAD, 1, 8, 8, 2]], np.int32),
        "keys": np.array([[False, True, True, True, True]]),
        "image": image,
    }
    codes = np.array([[0, 3], [2, 1]], np.int32)
    pictures = ImageCompletions(codes, np.zeros((2, 2), np.float32), np.array([[1, 0], [0, 1]]))
    rows = picture_rows(prompts, pictures, 2, offset=10)
    assert rows["tokens"].tolist() == [[PAD, 1, 10, 13, 2], [PAD, 1, 12, 11, 2]]
    assert rows["order"].tolist() == [[-1, -1, 1, 0, -1], [-1, -1, 0, 1, -1]]
    assert (rows["maskable"] == image).all()
    assert (rows["counted"] == image).all()


def test_prompts_are_widened_with_padding():
    prompts = {"tokens": np.ones((2, 11), np.int32), "lengths": np.array([11, 7], np.int32)}
    wide = widen_prompts(prompts, PAD)
    assert wide["tokens"].shape == (2, 16)
    assert (wide["tokens"][:, 11:] == PAD).all()
    assert wide["lengths"].tolist() == [11, 7]


@pytest.mark.parametrize(
    ("task", "decoding"),
    [
        ("plan", DecodingConfig(temperature=1.0, length=8, block=4, tokens_per_step=2)),
        ("draw_solution", DecodingConfig(image_steps=4)),
    ],
)
def test_what_the_sampler_says_of_its_order_covers_every_answer(task, decoding):
    source = MazeWorldSource(MazeWorld(width=3, height=3, count=4, minimum_path_cells=None))
    config = TransformerConfig(source.vocabulary.size, 1, 8, 2, 1, 4, 16, attention="bidirectional")
    model = Transformer(config)
    params = model.init(jax.random.key(0))
    sampler, steps = sampler_of(model, source, task, decoding, 3)
    assert steps == 4
    ids = source.vocabulary.ids
    prompts = source.prompts(range(2), task)
    answers = jax.device_get(sampler(params, prompts, jax.random.key(1)))
    if task == "plan":
        rows = text_rows(prompts, answers, 3, ids.pad)
    else:
        rows = picture_rows(prompts, answers, 3, ids.image_offset)
    assert not (rows["tokens"][rows["maskable"]] == ids.mask).any()
    trace = DIFFUSION_ALGORITHMS["trace_rl"]
    noise = draw_noise(trace, rows, jax.random.key(0), group=3, steps=steps)
    assert (np.asarray(noise.weights[0]).sum(axis=1) == rows["counted"]).all()
    # At the first step all of the answer was masked, later steps saw more and more.
    hidden = np.asarray(noise.masked[0]).sum(axis=(0, 2))
    assert (np.diff(hidden) < 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"group": 0}, "rollout.group is 0"),
        ({"prompts": 0}, "rollout.prompts is 0"),
        ({"prompts": 2, "group": 3, "minibatches": 4}, "rollout.minibatches is 4"),
    ],
)
def test_numbers_that_do_not_fit_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        DiffusionRolloutConfig(**fields)

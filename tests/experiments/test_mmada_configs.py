"""Published settings of MMaDA: learning rates, rows and sizes agree with what was released."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.models import Transformer
from jaxreason.models.presets import count_parameters
from jaxreason.training.optimizer import learning_rate
from jaxreason.training.runs import load_experiment, load_module

FOLDER = Path(__file__).parents[2] / "experiments" / "mmada"


def load(name):
    """A file of the folder as a module."""
    return load_module(FOLDER / f"{name}.py")


published = load("published")


@pytest.mark.parametrize(
    ("stage", "rates"),
    [
        ("stage1", {0: 0.0, 2_500: 5e-5, 5_000: 1e-4, 252_500: 5e-5, 500_000: 0.0}),
        ("stage2", {0: 0.0, 2_500: 2.5e-5, 5_000: 5e-5, 502_500: 2.75e-5, 1_000_000: 5e-6}),
    ],
)
def test_learning_rates_follow_the_released_schedules(stage, rates):
    config = published.released(stage).optimizer()
    # Ours is one update ahead while it warms up: the first update is not made with a rate of 0.
    ahead = config.learning_rate / config.warmup_steps
    for update, rate in rates.items():
        np.testing.assert_allclose(learning_rate(config, update), rate, rtol=1e-5, atol=ahead)
    np.testing.assert_allclose(learning_rate(config, 2_499), rates[2_500], rtol=1e-5)


def test_rows_are_as_long_as_text_picture_and_three_marks():
    lengths = {stage.name: stage.layout().length for stage in published.RELEASED}
    assert lengths == {
        "stage1": 387,
        "stage2": 515,
        "stage3": 1_539,
        "stage3_512_cot": 1_539,
        "stage4": 1_539,
    }
    for stage in published.RELEASED:
        assert stage.image_tokens == (stage.resolution // 16) ** 2
    # The release says 256 tokens for pictures of 512 pixels once; the model sees 1024.
    stale = [s.name for s in published.RELEASED if s.stated_image_tokens != s.image_tokens]
    assert stale == ["stage3"]


def test_the_losses_have_the_weights_of_their_stage():
    coefficients = published.released("stage4").objective().coefficients
    assert (coefficients.t2i, coefficients.lm, coefficients.mmu) == (0.05, 0.6, 0.4)


def test_the_published_model_has_8_billion_parameters():
    model = Transformer(published.model())
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert count_parameters(shapes) == 8_082_690_048
    assert published.released("stage1").layout().ids.size == model.config.vocabulary_size


@pytest.mark.parametrize("name", ["stage1", "stage2_mixed_cot", "gpu_stage1", "pod_8b"])
def test_every_config_is_an_experiment_whose_rows_fit(name):
    experiment = load_experiment(FOLDER / f"{name}.py")
    # The rows have room for what the data set holds, and the schedule ends with the run.
    source = experiment.source(count=64)
    assert source.layout.length == source.layout.text_length + source.codec.tokens + 3
    assert experiment.optimizer.total_steps == experiment.train.steps
    model = experiment.transformer()
    assert model.config.vocabulary_size == source.vocabulary.size
    assert json.loads(json.dumps(experiment.as_json()))["kind"] == "masked_diffusion"


def test_blocks_and_records_are_experiments_too():
    blocks = load_experiment(FOLDER / "block_diffusion.py")
    assert blocks.source(count=64).layout.length % blocks.blocks.length == 0
    stage = load_experiment(FOLDER / "stage1.py").model
    assert dataclasses.replace(blocks.model, attention=stage.attention) == stage
    records = load_experiment(FOLDER / "records.py")
    assert records.optimizer.total_steps == records.train.steps
    assert records.as_json()["kind"] == "diffusion_records"


def test_the_second_stage_goes_on_with_the_first_ones_model_and_tokens():
    for first, second in (
        ("stage1", "stage2_mixed_cot"),
        ("gpu_stage1", "gpu_stage2_mixed_cot"),
    ):
        one, two = (load_experiment(FOLDER / f"{name}.py") for name in (first, second))
        assert dataclasses.replace(two.model, remat=one.model.remat) == one.model
        assert (two.world.width, two.world.height) == (one.world.width, one.world.height)
        assert two.tokenizer == one.tokenizer
        assert two.base.endswith("stage1")
        assert (one.world.reasoning, two.world.reasoning) == ("none", "correct")


def test_the_8_billion_model_fits_its_pod_on_paper():
    pod = load("pod_8b")
    found = pod.check()
    assert found.parameters == 8_082_690_048
    assert found.row_tokens == 1_539
    assert found.rows_per_group * 32 == pod.ROWS
    # Parameters and two moments in float32, split over the mesh but for small leaves.
    assert 12 * found.parameters / pod.DEVICES <= found.state_bytes < 2 * 2**30
    assert pod.experiment.batch_rows() == pod.ROWS
    loss, metrics = pod.abstract_loss()
    assert (loss.shape, loss.dtype) == ((), np.float32)
    assert {"loss", "loss_t2i", "loss_lm_chat", "loss_mmu", "loss_r2i"} <= metrics.keys()

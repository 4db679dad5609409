"""Published settings of MMaDA: learning rates, rows and sizes agree with what was released."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxreason.models import Transformer
from jaxreason.models.presets import count_parameters
from jaxreason.training.optimizer import learning_rate

FOLDER = Path(__file__).parents[2] / "experiments" / "mmada"


def load(name):
    """A file of the folder as a module."""
    spec = importlib.util.spec_from_file_location(f"mmada_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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

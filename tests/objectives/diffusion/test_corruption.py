"""Which tokens are masked, how many, and what must not change it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.corruption import CorruptionConfig, corrupt, given
from jaxreason.objectives.diffusion.schedules import Schedule
from jaxreason.objectives.diffusion.tasks import TASKS
from jaxreason.tokens import layouts

ROWS, LENGTH, IMAGE, MASK = 2000, 12, slice(5, 11), 99
KEY = jax.random.key(0)
DEFAULT = CorruptionConfig()


def batch_of(task, rows=ROWS):
    """Rows of one task: six image tokens, an answer of six, or everything may be masked."""
    maskable = np.zeros((rows, LENGTH), bool)
    maskable[:, slice(None) if task == "lm" else IMAGE] = True
    return {
        "tokens": jnp.broadcast_to(jnp.arange(LENGTH, dtype=jnp.int32), (rows, LENGTH)),
        "maskable": jnp.asarray(maskable),
        "task": jnp.full((rows,), TASKS.index(task), jnp.int32),
    }


def drawn(task, config=DEFAULT, rows=ROWS, key=KEY):
    return jax.jit(lambda batch, key: corrupt(batch, key, MASK, config))(batch_of(task, rows), key)


def test_tasks_are_numbered_as_in_the_data():
    assert TASKS == layouts.TASKS


@pytest.mark.parametrize("task", TASKS)
def test_only_maskable_tokens_are_masked_and_the_rest_stays(task):
    batch, result = batch_of(task), drawn(task)
    masked = np.asarray(result.masked)
    assert not (masked & ~np.asarray(batch["maskable"])).any()
    np.testing.assert_array_equal(
        result.inputs, np.where(masked, MASK, np.asarray(batch["tokens"]))
    )
    assert ((np.asarray(result.weights) > 0) == masked).all()


def test_images_get_exactly_the_scheduled_count():
    result = drawn("t2i")
    count = np.asarray(result.masked).sum(axis=1)
    np.testing.assert_array_equal(count, np.maximum(1, np.round(6 * np.asarray(result.ratio))))
    assert count.min() == 1
    assert count.max() == 6
    # E[cos(pi u / 2)] = 2 / pi; the standard error here is 0.0069.
    assert np.asarray(result.ratio).mean() == pytest.approx(2 / np.pi, abs=0.03)


def test_at_least_one_image_token_is_masked_however_small_the_ratio():
    late = CorruptionConfig(image_schedule=Schedule("pow", exponent=1e-3))
    result = drawn("t2i", late)
    assert (np.asarray(result.ratio) < 1 / 12).mean() > 0.9
    assert np.asarray(result.masked).sum(axis=1).min() == 1


def test_every_image_place_is_masked_equally_often():
    shares = np.asarray(drawn("t2i").masked)[:, IMAGE].mean(axis=0)
    np.testing.assert_allclose(shares, shares.mean(), atol=0.04)


def test_the_least_ratio_of_images():
    result = drawn("t2i", CorruptionConfig(min_masking_rate=0.5))
    assert np.asarray(result.ratio).min() == 0.5
    assert np.asarray(result.masked).sum(axis=1).min() == 3


@pytest.mark.parametrize("task", ["lm", "lm_chat", "mmu", "r2i"])
def test_text_is_masked_token_by_token(task):
    """p = 0.999 u + 0.001; counts vary around p N as a binomial's."""
    result = drawn(task)
    ratio, masked = np.asarray(result.ratio), np.asarray(result.masked)
    total = 12 if task == "lm" else 6
    assert 0.001 <= ratio.min() < 0.003
    assert 0.997 < ratio.max() <= 1.0
    assert ratio.mean() == pytest.approx(0.5005, abs=0.03)
    spread = (masked.sum(axis=1) - total * ratio) / np.sqrt(total * ratio * (1 - ratio) + 1e-9)
    assert spread[(ratio > 0.2) & (ratio < 0.8)].std() == pytest.approx(1.0, abs=0.1)


def test_text_rows_may_mask_their_first_and_last_tokens():
    shares = np.asarray(drawn("lm").masked).mean(axis=0)
    np.testing.assert_allclose(shares, 0.5, atol=0.05)


@pytest.mark.parametrize("task", ["t2i", "lm", "mmu"])
@pytest.mark.parametrize("image_masks", ["count", "independent"])
def test_every_token_weighs_one_on_average(task, image_masks):
    """What makes the weighted sum of losses an estimate of the evidence bound."""
    result = drawn(task, CorruptionConfig(image_masks=image_masks), rows=8000)
    maskable = np.asarray(batch_of(task, 1)["maskable"])[0]
    weights = np.asarray(result.weights)[:, maskable].mean(axis=1)
    # The weights of independent masks have a heavy tail; the error allowed is 4 of their own.
    allowed = 4 * weights.std() / np.sqrt(len(weights))
    assert weights.mean() == pytest.approx(1.0, abs=max(allowed, 0.02))
    assert allowed < 0.25


def test_a_row_does_not_depend_on_the_rows_beside_it():
    alone, many = drawn("t2i", rows=3), drawn("t2i", rows=8)
    np.testing.assert_array_equal(alone.masked, many.masked[:3])
    text = batch_of("lm", 8)
    mixed = {name: text[name].at[:3].set(value) for name, value in batch_of("t2i", 3).items()}
    np.testing.assert_array_equal(corrupt(mixed, KEY, MASK, DEFAULT).masked[:3], alone.masked)


def test_rows_and_keys_give_different_masks():
    result = drawn("lm", rows=8)
    assert len(np.unique(np.asarray(result.masked), axis=0)) == 8
    other = drawn("lm", rows=8, key=jax.random.key(1))
    assert (np.asarray(other.masked) != np.asarray(result.masked)).any()


def test_a_row_with_nothing_maskable_stays_as_it_is():
    batch = {**batch_of("t2i", 4), "maskable": jnp.zeros((4, LENGTH), bool)}
    result = corrupt(batch, KEY, MASK, DEFAULT)
    np.testing.assert_array_equal(result.inputs, batch["tokens"])
    assert np.isfinite(np.asarray(result.weights)).all()


def test_given_inputs_are_masked_where_they_hold_the_mask():
    result = given(jnp.array([[1, MASK, 3], [MASK, MASK, 2]]), jnp.array([0.5, 0.25]), MASK)
    np.testing.assert_array_equal(result.weights, [[0, 2, 0], [4, 4, 0]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_masking_rate": 1.5}, "min_masking_rate=1.5"),
        ({"text_floor": 0.0}, "text_floor=0.0"),
        ({"image_masks": "some"}, "image_masks='some'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        CorruptionConfig(**settings)


def test_a_missing_field_is_named():
    batch = {name: value for name, value in batch_of("lm", 2).items() if name != "maskable"}
    with pytest.raises(InputError, match="lacks maskable"):
        corrupt(batch, KEY, MASK, DEFAULT)

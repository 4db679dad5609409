"""Pictures by masked diffusion: the reference's loop, what is known stays, rows are independent."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from image_toys import CODES, IDS, MODEL, OFFSET, TOKENS, params, prompts, reference

from jaxreason.errors import InputError
from jaxreason.models.transformer import Transformer
from jaxreason.sampling.diffusion.images import (
    ImageDiffusionConfig,
    _draw,
    diffusion_image,
    image_logits,
)
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.placement import place_batch

TEXTS = [[6, 7, 8], [9], [], [10, 6]]
PARAMS = params()
KEY = jax.random.key(3)
SEEN = ImageDiffusionConfig(TOKENS, steps=4, guidance=1.5, history=True)
SAMPLER = diffusion_image(MODEL, SEEN, **IDS)


def test_without_chance_it_is_the_reference_for_texts_of_any_length():
    config = ImageDiffusionConfig(
        TOKENS, steps=4, guidance=1.5, temperature=0, choice_temperature=0
    )
    result = diffusion_image(MODEL, config, **IDS)(PARAMS, prompts(TEXTS), KEY)
    codes, log_probabilities, order = reference(PARAMS, prompts(TEXTS), 4, 1.5)
    np.testing.assert_array_equal(result.codes, codes)
    np.testing.assert_array_equal(result.order, order)
    np.testing.assert_allclose(result.log_probabilities, log_probabilities, atol=1e-4)
    assert result.history is None
    blind = reference(PARAMS, prompts(TEXTS), 4, 1.5, twin_sees_picture=False)
    assert (blind[0] != codes).any()
    assert np.abs(blind[1] - log_probabilities).max(axis=1).min() > 1e-3


@pytest.mark.parametrize("decay", ["compounding", "linear"])
def test_with_chance_it_is_the_reference_at_falling_temperatures(decay):
    """Codes at one temperature, their choice at another that falls from step to step."""
    steps, temperature, choice_temperature = 5, 0.7, 4.0

    def draw(row, step, logits):
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(KEY, row), step))
        codes = jax.random.categorical(keys[0], logits.astype(np.float32) / temperature)
        times = [(i + 1) / steps for i in range(step + 1)]
        left = np.prod([1 - r for r in times]) if decay == "compounding" else 1 - times[-1]
        noise = np.asarray(jax.random.gumbel(keys[1], (TOKENS,)))
        return np.asarray(codes), choice_temperature * left * noise

    config = ImageDiffusionConfig(
        TOKENS,
        steps=steps,
        guidance=0.5,
        temperature=temperature,
        choice_temperature=choice_temperature,
        temperature_decay=decay,
    )
    result = diffusion_image(MODEL, config, **IDS)(PARAMS, prompts(TEXTS), KEY)
    codes, log_probabilities, order = reference(PARAMS, prompts(TEXTS), steps, 0.5, draw=draw)
    np.testing.assert_array_equal(result.codes, codes)
    np.testing.assert_array_equal(result.order, order)
    np.testing.assert_allclose(result.log_probabilities, log_probabilities, atol=1e-4)


@pytest.mark.parametrize("mode", ["full", "legacy_float"])
def test_padding_is_treated_as_the_mask_mode_says(mode):
    config = ImageDiffusionConfig(
        TOKENS, steps=2, guidance=0.5, temperature=0, choice_temperature=0, mask_mode=mode
    )
    result = diffusion_image(MODEL, config, **IDS)(PARAMS, prompts(TEXTS), KEY)
    found = reference(PARAMS, prompts(TEXTS), 2, 0.5, mask_mode=mode)
    np.testing.assert_array_equal(result.codes, found[0])
    np.testing.assert_allclose(result.log_probabilities, found[1], atol=1e-4)
    hidden = reference(PARAMS, prompts(TEXTS), 2, 0.5)
    assert np.abs(hidden[1] - found[1]).max() > 1e-2


@pytest.mark.parametrize("seed", range(4))
def test_known_tokens_are_kept_and_the_rest_is_filled(seed):
    generator = np.random.default_rng(seed)
    known = np.where(
        generator.random((4, TOKENS)) < [[0.2], [0.5], [0.8], [1.0]],
        generator.integers(0, CODES, (4, TOKENS)),
        -1,
    )
    result = SAMPLER(PARAMS, prompts(TEXTS, known), jax.random.key(seed))
    codes = np.asarray(result.codes)
    np.testing.assert_array_equal(np.where(known < 0, -1, codes), known)
    assert ((codes >= 0) & (codes < CODES)).all()
    np.testing.assert_array_equal(np.asarray(result.order) < 0, known >= 0)
    np.testing.assert_array_equal(np.asarray(result.log_probabilities) == 0, known >= 0)


def test_history_and_order_tell_the_same_story():
    result = SAMPLER(PARAMS, prompts(TEXTS), KEY)
    history, order = np.asarray(result.history), np.asarray(result.order)
    assert history.shape == (4, 4, TOKENS)
    for step in range(4):
        revealed = order <= step
        expected = np.where(revealed, result.codes, -1)
        np.testing.assert_array_equal(history[:, step], expected)
    assert [(row < 0).sum(axis=1).tolist() for row in history] == [[5, 4, 2, 0]] * 4


def test_a_row_does_not_depend_on_the_others():
    batch = prompts(TEXTS)
    together = SAMPLER(PARAMS, batch, KEY)
    others = prompts([[10, 10], [7, 7, 6], TEXTS[2], [8]])
    np.testing.assert_array_equal(SAMPLER(PARAMS, others, KEY).codes[2], together.codes[2])
    alone = SAMPLER(PARAMS, {name: array[:1] for name, array in batch.items()}, KEY)
    np.testing.assert_array_equal(alone.codes[0], together.codes[0])
    np.testing.assert_array_equal(alone.order[0], together.order[0])
    assert (SAMPLER(PARAMS, batch, jax.random.key(4)).codes != together.codes).any()


def test_one_step_draws_from_the_distribution_over_image_codes():
    config = ImageDiffusionConfig(TOKENS, steps=1, temperature=2.0)
    sampler = diffusion_image(MODEL, config, **IDS, samples=3000)
    batch = {name: prompts(TEXTS[:1])[name] for name in ("tokens", "keys", "image")}
    result = sampler(PARAMS, batch, KEY)
    assert result.codes.shape == (3000, TOKENS)
    codes = np.asarray(result.codes)
    shares = np.stack([(codes == code).mean(axis=0) for code in range(CODES)], axis=1)
    # the log-probabilities are those before temperature
    logps = np.full((TOKENS, CODES), -np.inf)
    for i in range(TOKENS):
        logps[i, codes[:, i]] = np.asarray(result.log_probabilities)[:, i]
    tempered = np.exp(logps / 2)
    tempered /= tempered.sum(axis=1, keepdims=True)
    assert np.exp(logps).sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert np.abs(shares - tempered).max() < 4 * np.sqrt(0.25 / 3000)


def test_the_choice_temperature_decides_how_much_chance_is_in_the_order():
    config = ImageDiffusionConfig(TOKENS, steps=4, temperature=0, choice_temperature=1e6)
    batch = {name: prompts(TEXTS[:1])[name] for name in ("tokens", "keys", "image")}
    result = diffusion_image(MODEL, config, **IDS, samples=600)(PARAMS, batch, KEY)
    first = np.argmax(np.asarray(result.order) == 0, axis=1)
    shares = np.bincount(first, minlength=TOKENS) / 600
    assert np.abs(shares - 1 / TOKENS).max() < 0.08
    assert (np.sort(result.order, axis=1) == [0, 1, 2, 2, 3, 3]).all()


def test_random_numbers_differ_by_row_and_step():
    logits = np.zeros((2, 50, CODES), np.float32)
    drawn = {step: _draw(logits, 1.0, KEY, step) for step in (0, 1)}
    for part in (0, 1):
        rows = [np.asarray(drawn[step][part][row]) for step in (0, 1) for row in (0, 1)]
        assert len({row.tobytes() for row in rows}) == 4


def test_more_steps_than_tokens_and_other_schedules():
    config = ImageDiffusionConfig(
        TOKENS, steps=9, schedule="linear", temperature_decay="linear", scheduled="image"
    )
    known = np.full((4, TOKENS), -1)
    known[:, :2] = 3
    result = diffusion_image(MODEL, config, **IDS)(PARAMS, prompts(TEXTS, known), KEY)
    # floor(6 (1 - r)) = 5 4 4 3 2 2 1 0 0 of the whole image, yet one more is revealed each step
    np.testing.assert_array_equal(np.sort(result.order, axis=1), [[-1, -1, 0, 1, 2, 8]] * 4)


def test_only_image_codes_are_multiplied():
    hidden = jax.random.normal(KEY, (2, 3, MODEL.config.width))
    every = MODEL.unembed(PARAMS, hidden)
    np.testing.assert_allclose(
        image_logits(MODEL, PARAMS, hidden, OFFSET, CODES),
        every[..., OFFSET : OFFSET + CODES],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"tokens": 0}, "tokens is 0; it must be at least 1"),
        ({"guidance": -1.0}, r"guidance is -1.0; it must be 0 or above"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature_decay": "cubic"}, "temperature_decay is 'cubic'; expected one of"),
        ({"schedule": "cubic"}, "schedule is 'cubic'; expected 'cosine'"),
        ({"mask_mode": "causal_trap"}, "mask_mode is 'causal_trap'"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        ImageDiffusionConfig(**{"tokens": TOKENS} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_codes": 10}, "image_offset 11 and image_codes 10 give ids up to 20; .* 0 to 19"),
        ({"mask_id": 12}, "mask_id is 12; expected an id below 20 that is not an image id"),
        ({"samples": 0}, "samples is 0"),
    ],
)
def test_ids_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        diffusion_image(MODEL, SEEN, **{**IDS, **change})


@pytest.mark.parametrize("attention", ["causal", "block_causal"])
def test_a_model_that_does_not_see_both_sides_is_refused(attention):
    with pytest.raises(InputError, match=rf"model\.attention is '{attention}'.*'bidirectional'"):
        diffusion_image(Transformer(replace(MODEL.config, attention=attention)), SEEN, **IDS)


def spoil(name, change):
    batch = prompts(TEXTS)
    batch[name] = change(batch[name].copy())
    return batch


def put(array, at, value):
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (spoil("image", lambda a: put(a, (1, 8), False)), "prompt 1 has 5 image slots; .* 6"),
        (spoil("tokens", lambda a: put(a, (2, 9), 4)), "prompt 2 has 4 at position 9 of image"),
        (spoil("tokens", lambda a: put(a, (0, 2), 20)), "prompt 0 has 20 at position 2 of tokens"),
        (spoil("tokens", lambda a: put(a, (0, 2), -1)), "prompt 0 has -1 at position 2 of tokens"),
        (spoil("tokens", lambda a: a.astype(float)), "tokens of dtype float64; expected whole"),
        (spoil("keys", lambda a: put(a, (3, 8), False)), "prompt 3 has False at position 8 of k"),
        (spoil("keys", lambda a: a[:, 1:]), "prompts have keys of shape"),
        (spoil("keys", lambda a: a.astype(int)), "prompts have keys of dtype int64; expected bool"),
        (
            {n: a for n, a in prompts(TEXTS).items() if n != "unconditional_tokens"},
            "no 'unconditional_tokens'; guidance needs an unconditional twin",
        ),
    ],
)
def test_prompts_that_do_not_fit_are_refused(batch, message):
    with pytest.raises(InputError, match=message):
        SAMPLER(PARAMS, batch, KEY)


def test_rows_split_over_devices_give_the_same_pictures():
    batch = prompts(TEXTS * 2)
    mesh = make_mesh(MeshConfig(fsdp=8))
    with jax.set_mesh(mesh):
        split = SAMPLER(PARAMS, place_batch(batch, mesh), KEY)
    whole = SAMPLER(PARAMS, batch, KEY)
    np.testing.assert_array_equal(split.codes, whole.codes)
    np.testing.assert_array_equal(split.order, whole.order)

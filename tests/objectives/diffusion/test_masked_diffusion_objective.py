"""What must not change the loss, how parts of a batch add up, and the bound."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from diffusion_fixture import INPUTS, MODEL, PARAMS, RATIO, TOKENS, batch_of, corrupted_of
from golden_llada import MASK

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.corruption import CorruptionConfig, corrupt
from jaxreason.objectives.diffusion.likelihood import exact_elbo
from jaxreason.objectives.diffusion.masked_cross_entropy import (
    MaskedDiffusionConfig,
    loss_of,
    masked_diffusion,
)
from jaxreason.objectives.diffusion.tasks import TASKS, TaskCoefficients
from jaxreason.objectives.diffusion.token_scores import token_scores
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.placement import place_batch

KEY = jax.random.key(11)
ONES = TaskCoefficients(1.0, 1.0, 1.0, 1.0, 1.0)
MODES = {
    "reference": MaskedDiffusionConfig(),
    "rows": MaskedDiffusionConfig(normalisation="rows"),
    "elbo_token": MaskedDiffusionConfig(normalisation="elbo"),
    "elbo_sequence": MaskedDiffusionConfig(normalisation="elbo", per="sequence"),
}


@jax.jit
def losses_in_all_modes(batch, corrupted):
    return {name: loss_of(MODEL, PARAMS, batch, corrupted, c) for name, c in MODES.items()}


def rows_of(tree, rows):
    return jax.tree.map(lambda x: x[np.array(rows)], tree)


@pytest.fixture(scope="module")
def whole():
    """Eight rows of three tasks, and their losses."""
    batch = rows_of(batch_of(), [0, 1, 2, 3, 3, 1, 2, 0])
    corrupted = rows_of(corrupted_of(), [0, 1, 2, 3, 3, 1, 2, 0])
    # One image row has one masked token more than the other.
    corrupted = corrupted._replace(
        inputs=corrupted.inputs.at[7, 6].set(MASK), masked=corrupted.masked.at[7, 6].set(True)
    )
    return batch, corrupted, losses_in_all_modes(batch, corrupted)


@pytest.mark.parametrize("mode", MODES)
def test_loss_is_its_sum_over_its_count(whole, mode):
    loss, metrics = whole[2][mode]
    total, count = metrics["loss"]
    assert loss == pytest.approx(float(total / count), rel=1e-6)


def parts_of(whole, mode):
    batch, corrupted, _ = whole
    rows = ([0, 1, 2, 3], [4, 5, 6, 7])
    return [losses_in_all_modes(rows_of(batch, r), rows_of(corrupted, r))[mode] for r in rows]


@pytest.mark.parametrize("mode", ["rows", "elbo_token", "elbo_sequence"])
def test_parts_add_up_to_the_whole_batch(whole, mode):
    (first, second), (loss, metrics) = parts_of(whole, mode), whole[2][mode]
    sums = jax.tree.map(jnp.add, first[1], second[1])
    assert sums["loss"][0] / sums["loss"][1] == pytest.approx(float(loss), rel=1e-5)
    for name, (total, count) in metrics.items():
        np.testing.assert_allclose(sums[name], (total, count), rtol=1e-5, err_msg=name)


def test_the_reference_averages_its_parts(whole):
    """Each part counts once, and the mean of the parts is not the loss of the whole."""
    (first, second), (loss, metrics) = parts_of(whole, "reference"), whole[2]["reference"]
    sums = jax.tree.map(jnp.add, first[1], second[1])
    assert sums["loss"][1] == 2
    mean = (float(first[0]) + float(second[0])) / 2
    assert sums["loss"][0] / 2 == pytest.approx(mean, rel=1e-6)
    assert abs(mean - float(loss)) > 1e-3
    # The losses reported by task do add up.
    for name in TASKS:
        np.testing.assert_allclose(sums[f"loss_{name}"], metrics[f"loss_{name}"], rtol=1e-5)


def test_rows_and_bound_equal_their_formulas():
    """Every row from its token losses, by hand."""
    batch, corrupted = batch_of(), corrupted_of()
    score = jax.jit(lambda inputs: token_scores(MODEL, PARAMS, inputs, TOKENS, batch["keys"]))
    losses = np.asarray(score(INPUTS).losses)
    masked = np.where(INPUTS == MASK, losses, 0).sum(axis=1)
    text = masked / RATIO
    got = losses_in_all_modes(batch, corrupted)
    image = (masked[0] + losses[0, 4] + losses[0, 9]) / 4
    rows = [image, 0.1 * text[1] / 10, text[2] / 3, text[3] / 4]
    assert got["rows"][0] == pytest.approx(np.mean(rows), rel=1e-5)
    bound = (text * [1, 0.1, 1, 1]).sum()
    assert got["elbo_token"][0] == pytest.approx(bound / (4 + 10 + 3 + 4), rel=1e-5)
    assert got["elbo_sequence"][0] == pytest.approx(bound / 4, rel=1e-5)


def test_order_of_rows(whole):
    batch, corrupted, before = whole
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    after = losses_in_all_modes(rows_of(batch, order), rows_of(corrupted, order))
    for mode in MODES:
        assert after[mode][0] == pytest.approx(float(before[mode][0]), rel=1e-5)


def test_more_padding_on_the_left():
    """Rows moved three places to the right behind padding that nobody sees; no lm rows, whose
    mean is over the length of a row.
    """
    batch, corrupted = rows_of((batch_of(), corrupted_of()), [0, 2, 3])

    def pad(x, value):
        return jnp.pad(x, ((0, 0), (3, 0)), constant_values=value) if x.ndim == 2 else x

    moved = {name: pad(x, 7 if name == "tokens" else False) for name, x in batch.items()}
    noisy = corrupted._replace(
        inputs=pad(corrupted.inputs, 9),
        masked=pad(corrupted.masked, False),
        weights=pad(corrupted.weights, 0),
    )
    before, after = losses_in_all_modes(batch, corrupted), losses_in_all_modes(moved, noisy)
    for mode in MODES:
        assert after[mode][0] == pytest.approx(float(before[mode][0]), rel=2e-5)


def test_cross_entropy_in_chunks_equals_all_at_once():
    """Loss and gradient with 7 of the 40 targets at a time, and with all."""
    config = MaskedDiffusionConfig(normalisation="rows")

    def gradient(chunk):
        def loss(params):
            return loss_of(MODEL, params, batch_of(), corrupted_of(), config, chunk)[0]

        return jax.jit(jax.value_and_grad(loss))(PARAMS)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        gradient(7),
        gradient(None),
    )


def test_one_device_equals_eight():
    """Masks bit by bit, the loss to 1e-6, drawn on a mesh that splits the rows."""
    batch = rows_of(batch_of(), [0, 1, 2, 3, 3, 1, 2, 0])
    objective = masked_diffusion(MODEL, mask_id=MASK)

    def run(params, batch):
        masks = corrupt(batch, KEY, MASK, CorruptionConfig()).masked
        (loss, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(params, batch, KEY)
        return masks, loss, metrics, gradient

    alone = jax.jit(run)(PARAMS, batch)
    mesh = make_mesh(MeshConfig(fsdp=8), jax.devices()[:8])
    with jax.set_mesh(mesh):
        split = jax.jit(run)(PARAMS, place_batch(batch, mesh))
    np.testing.assert_array_equal(split[0], alone[0])
    assert split[1] == pytest.approx(float(alone[1]), rel=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6),
        split[2:],
        alone[2:],
    )


@pytest.mark.parametrize("image_masks", ["count", "independent"])
def test_the_bound_is_estimated_without_bias(image_masks):
    """Image rows by the cosine schedule and answers by 1 / p, against the enumerated bound."""
    batch = rows_of(batch_of(), [0, 2, 3, 0])
    corruption = CorruptionConfig(image_masks=image_masks, text_floor=0.01)
    config = MaskedDiffusionConfig(ONES, "elbo", "sequence", corruption)
    exact = exact_elbo(MODEL, mask_id=MASK, longest=4, at_once=5)(PARAMS, batch, KEY)
    objective = masked_diffusion(MODEL, mask_id=MASK, config=config)

    def both(key):
        _, metrics = objective(PARAMS, batch, key)
        return [metrics[f"loss_{name}"][0] / metrics[f"loss_{name}"][1] for name in ("t2i", "mmu")]

    draws = jax.jit(lambda: jax.lax.map(both, jax.random.split(KEY, 500)))()
    for values, rows in zip(draws, ([0, 3], [1, 2]), strict=True):
        error = float(values.std()) / np.sqrt(500)
        assert error < 1.0
        assert values.mean() == pytest.approx(-float(exact[np.array(rows)].mean()), abs=4 * error)


def test_keys_decide_the_masks():
    objective = jax.jit(masked_diffusion(MODEL, mask_id=MASK))
    first, again = (objective(PARAMS, batch_of(), KEY)[0] for _ in range(2))
    other = objective(PARAMS, batch_of(), jax.random.key(12))[0]
    assert first == again != other


def test_metrics_of_predictions():
    """Accuracy over masked tokens, and the share of what may be masked that is."""
    batch, corrupted = batch_of(), corrupted_of()
    _, metrics = losses_in_all_modes(batch, corrupted)["rows"]
    assert (metrics["accuracy"][1], tuple(map(float, metrics["masked"]))) == (9, (9, 21))
    clean = {**batch, "tokens": jnp.asarray(TOKENS)}
    inputs = jnp.asarray(INPUTS)
    best = jnp.argmax(MODEL.unembed(PARAMS, MODEL.apply(PARAMS, inputs)[0]), axis=-1)
    easy = {**clean, "tokens": jnp.where(inputs == MASK, best, clean["tokens"])}
    easy["keys"] = jnp.ones_like(easy["keys"])
    assert losses_in_all_modes(easy, corrupted)["rows"][1]["accuracy"][0] == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalisation": "mean"}, "normalisation='mean'"),
        ({"per": "row"}, "per='row'"),
        ({"mask_mode": "none"}, "mask_mode='none'"),
        (
            {"normalisation": "elbo", "corruption": CorruptionConfig(min_masking_rate=0.1)},
            "min_masking_rate=0.1 with normalisation='elbo'",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        replace(MaskedDiffusionConfig(), **settings)


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"coefficients\.lm=-0\.1"):
        TaskCoefficients(lm=-0.1)
    with pytest.raises(InputError, match="mask_id=126336: expected a token id, 0 to 59"):
        masked_diffusion(MODEL, mask_id=126336)
    batch = {name: x for name, x in batch_of().items() if name != "visible_targets"}
    with pytest.raises(InputError, match="lacks visible_targets"):
        masked_diffusion(MODEL, mask_id=MASK)(PARAMS, batch, KEY)

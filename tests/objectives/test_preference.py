"""Preference objectives on a small model: against their definition, and what must not matter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import preference_losses as losses
from jaxreason.objectives.kto import kto
from jaxreason.objectives.pairs import check_preferences, pair_scores
from jaxreason.objectives.preference import anchored, dpo, ipo, orpo, simpo
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.state import state_from_params
from jaxreason.training.step import make_step

MODEL = Transformer(TransformerConfig(13, 2, 16, 2, 1, 8, 24))
KEY = jax.random.key(0)
ROWS, LENGTH, EOS = 8, 10, 12

# name: (objective, its losses from log ratios, averages and likelihoods in NumPy)
OBJECTIVES = {
    "dpo": (dpo(MODEL, 0.4), lambda r, n, a, m: losses.sigmoid_loss(0.4 * (r[0] - r[1]))),
    "robust": (
        dpo(MODEL, 0.4, label_smoothing=0.1, variant="robust"),
        lambda r, n, a, m: losses.robust_loss(0.4 * (r[0] - r[1]), 0.1),
    ),
    "hinge": (
        dpo(MODEL, 0.4, variant="hinge"),
        lambda r, n, a, m: losses.hinge_loss(0.4 * (r[0] - r[1])),
    ),
    "dpo_norm": (
        dpo(MODEL, 5.0, normalise=True),
        lambda r, n, a, m: losses.sigmoid_loss(5 * (r[0] / n[0] - r[1] / n[1])),
    ),
    "ipo": (ipo(MODEL), lambda r, n, a, m: losses.ipo_loss(r[0] / n[0] - r[1] / n[1], 0.1)),
    "ipo_sum": (ipo(MODEL, average=False), lambda r, n, a, m: losses.ipo_loss(r[0] - r[1], 0.1)),
    "orpo": (
        orpo(MODEL, likelihood_of="sequence"),
        lambda r, n, a, m: -m[0] + 0.1 * losses.odds_ratio_loss(a[0], a[1]),
    ),
    "orpo_completion": (
        orpo(MODEL),
        lambda r, n, a, m: -a[0] + 0.1 * losses.odds_ratio_loss(a[0], a[1]),
    ),
    "simpo": (simpo(MODEL, 2.0, 1.0), lambda r, n, a, m: losses.simpo_loss(a[0], a[1], 2.0, 1.0)),
    "nca": (anchored(MODEL, "nca"), lambda r, n, a, m: losses.nca_loss(r[0], r[1], 0.1)),
}
KTO = kto(MODEL, 0.4, desirable_weight=1.25, undesirable_weight=0.75)


@pytest.fixture(scope="module")
def params():
    random = jax.jit(MODEL.init)(jax.random.key(1))
    return {**random, "embedding": random["embedding"] * 10}


def make_batch(seed=0, padding=0):
    """Pairs with prompts of 2 to 4 tokens and completions of 2 to 5, the last one EOS."""
    random = np.random.default_rng(seed)
    shape = (ROWS, 2, LENGTH + padding)
    tokens = np.zeros(shape, np.int32)
    mask = np.zeros(shape, bool)
    for row in range(ROWS):
        prompt = random.integers(1, EOS, random.integers(2, 5))
        for half in range(2):
            completion = [*random.integers(1, EOS, random.integers(1, 5)), EOS]
            end = len(prompt) + len(completion)
            tokens[row, half, :end] = [*prompt, *completion]
            mask[row, half, len(prompt) : end] = True
    segments = (tokens > 0).astype(np.int32)
    return {
        "tokens": tokens,
        "targets_mask": mask,
        "segments": segments,
        "positions": np.cumsum(segments, axis=2).astype(np.int32) - 1,
        "reference_log_probabilities": -random.uniform(5, 15, (ROWS, 2)).astype(np.float32),
        "desirable": random.random(ROWS) < 0.5,
    }


@pytest.fixture(scope="module")
def batch():
    return make_batch()


@pytest.fixture(scope="module")
def log_probabilities(params):
    """[rows, 2, length] of each token given those before it, in float64, row by row."""
    apply = jax.jit(lambda tokens: MODEL.unembed(params, MODEL.apply(params, tokens)[0]))
    logits = np.asarray(apply(make_batch()["tokens"].reshape(-1, LENGTH)), np.float64)
    normalised = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = make_batch()["tokens"].reshape(-1, LENGTH)
    given = np.zeros(tokens.shape)
    given[:, 1:] = np.take_along_axis(normalised[:, :-1], tokens[:, 1:, None], -1)[..., 0]
    return given.reshape(ROWS, 2, LENGTH)


def definition(name, batch, given, mutation=None):
    """Losses per pair, computed from the tokens' log-probabilities; possibly wrongly."""
    mask, real = batch["targets_mask"].copy(), batch["segments"] > 0
    real[..., 0] = False  # nothing precedes the first token
    if mutation == "mask shifted":
        mask = np.roll(mask, -1, axis=2)
    elif mutation == "end token dropped":
        mask &= batch["tokens"] != EOS
    elif mutation == "prompt counted":
        mask = real
    count = mask.sum(2)
    sums = (given * mask).sum(2)
    ratios = sums - batch["reference_log_probabilities"]
    if mutation == "sign":
        ratios, sums = ratios[:, ::-1], sums[:, ::-1]
    if mutation == "sum for mean":
        count = np.ones_like(count)
    averages = sums / count
    if mutation == "mean for sum":
        ratios = ratios / count
    likelihoods = (given * real).sum(2) / real.sum(2)
    return np.asarray(OBJECTIVES[name][1](ratios.T, count.T, averages.T, likelihoods.T))


PROGRAMS = {name: jax.jit(objective) for name, (objective, _) in OBJECTIVES.items()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_equals_its_definition(params, batch, log_probabilities, name):
    loss, metrics = PROGRAMS[name](params, batch, KEY)
    expected = definition(name, batch, log_probabilities)
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), ROWS), rtol=1e-5)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("mutation", "blind"),
    [
        ("sign", {"orpo", "orpo_completion"}),  # their likelihood has no sides; see below
        ("mask shifted", set()),
        ("end token dropped", set()),
        ("prompt counted", {"dpo", "robust", "hinge", "ipo_sum"}),  # it cancels in a difference
        ("sum for mean", {"dpo", "robust", "hinge", "ipo_sum", "nca"}),
        ("mean for sum", {"orpo", "orpo_completion", "simpo"}),
    ],
)
def test_the_definition_tells_a_wrong_computation(
    params, batch, log_probabilities, mutation, blind
):
    """By ten times the tolerance of the comparison; `blind`: losses without what is changed."""
    for name in OBJECTIVES.keys() - blind:
        right = definition(name, batch, log_probabilities)
        wrong = definition(name, batch, log_probabilities, mutation)
        assert abs(wrong.mean() / right.mean() - 1) > 1e-4, name


def test_metrics_are_those_of_the_pairs(params, batch, log_probabilities):
    _, metrics = PROGRAMS["dpo"](params, batch, KEY)
    sums = (log_probabilities * batch["targets_mask"]).sum(2)
    rewards = 0.4 * (sums - batch["reference_log_probabilities"])
    margins = rewards[:, 0] - rewards[:, 1]
    assert 0 < (margins > 0).sum() < ROWS
    expected = {
        "margin": margins,
        "accuracy": margins > 0,
        "chosen_reward": rewards[:, 0],
        "rejected_reward": rewards[:, 1],
        "chosen_log_probability": sums[:, 0],
        "rejected_log_probability": sums[:, 1],
    }
    assert metrics.keys() == {"loss", *expected}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], (value.sum(), ROWS), rtol=1e-4, err_msg=name)


def test_kto_equals_its_definition(params, batch, log_probabilities):
    sums = (log_probabilities * batch["targets_mask"]).sum(2)
    reference = batch["reference_log_probabilities"] - np.array([0, 9], np.float32)
    shifted = {**batch, "reference_log_probabilities": reference}
    ratios = sums - reference
    baseline = ratios[:, 1].mean()
    assert baseline > 0
    gain = 0.4 * (ratios[:, 0] - baseline)
    good = batch["desirable"]
    expected = np.where(good, 1.25 / (1 + np.exp(gain)), 0.75 / (1 + np.exp(-gain)))
    loss, metrics = jax.jit(KTO)(params, shifted, KEY)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), ROWS), rtol=1e-5)
    np.testing.assert_allclose(metrics["baseline"][0] / ROWS, baseline, rtol=1e-5)
    rewards = 0.4 * ratios[:, 0]
    np.testing.assert_allclose(
        metrics["desirable_reward"], (rewards[good].sum(), good.sum()), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics["undesirable_reward"], (rewards[~good].sum(), (~good).sum()), rtol=1e-5
    )
    right = np.where(good, ratios[:, 0] > baseline, ratios[:, 0] < baseline)
    assert metrics["accuracy"][0] == right.sum()


@pytest.mark.parametrize(("name", "factor"), [("dpo", -0.4 / 2), ("ipo", -1 / 0.1)])
def test_the_gradient_at_the_reference_is_that_of_the_difference(params, batch, name, factor):
    """DPO: -beta / 2 grad delta; IPO: -1 / beta grad of the per-token difference."""
    average = name == "ipo"

    def scores(params):
        given = pair_scores(MODEL, params, batch)
        return given.log_probabilities, given.lengths

    @jax.jit
    def both(params):
        reference = jax.lax.stop_gradient(scores(params)[0])
        at = {**batch, "reference_log_probabilities": reference}

        def difference(params):
            sums, lengths = scores(params)
            values = sums / lengths if average else sums
            return jnp.mean(values[:, 0] - values[:, 1])

        objective = OBJECTIVES[name][0]
        return jax.grad(lambda p: objective(p, at, KEY)[0])(params), jax.grad(difference)(params)

    got, expected = both(params)
    scale = factor * optax.global_norm(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a / scale, factor * b / scale, atol=1e-5),
        got,
        expected,
    )


# The objective of pairs that uses all of their sequences, and the one of single completions.
PROBED = {"orpo": OBJECTIVES["orpo"][0], "kto": KTO}


@pytest.fixture(scope="module")
def gradients():
    """Jitted `(params, batch) -> ((loss, metrics), gradient)` of the probed objectives."""
    return {
        name: jax.jit(lambda p, b, f=f: jax.value_and_grad(f, has_aux=True)(p, b, KEY))
        for name, f in PROBED.items()
    }


def assert_same(got, expected, tolerance=1e-5):
    flat = lambda x: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)])  # noqa: E731
    np.testing.assert_allclose(flat(got), flat(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", PROBED)
def test_neither_padding_nor_order_nor_padding_rows_matter(params, batch, gradients, name):
    step = gradients[name]
    expected = step(params, batch)
    order = np.random.default_rng(1).permutation(ROWS)
    assert_same(step(params, {key: value[order] for key, value in batch.items()}), expected)
    junk = {**batch, "tokens": np.where(batch["segments"] == 0, 7, batch["tokens"])}
    assert_same(step(params, junk), expected)
    longer = {key: np.pad(value, ((0, 0), (0, 0), (0, 3))) if value.ndim == 3 else value
              for key, value in batch.items()}  # fmt: skip
    longer |= {key: np.concatenate([value, np.zeros_like(value)]) for key, value in longer.items()}
    assert_same(step(params, longer), expected)


@pytest.mark.parametrize(("name", "fsdp", "parts"), [("orpo", 2, 2), ("orpo", 1, 4), ("kto", 4, 1)])
def test_accumulation_and_meshes_change_nothing(params, batch, gradients, name, fsdp, parts):
    """The gradient, as one SGD step sees it; the baseline of KTO is that of all devices' rows."""
    (_, metrics), gradient = gradients[name](params, batch)
    sgd = optax.sgd(1.0)
    mesh = make_mesh(MeshConfig(fsdp=fsdp), jax.devices()[:fsdp]) if fsdp > 1 else None
    step = make_step(PROBED[name], sgd, mesh, accumulation=parts)
    state, got = step(state_from_params(params, sgd, KEY, mesh), batch)
    moved = jax.tree.map(lambda old, new: np.asarray(old) - new, params, state.params)
    assert_same(moved, gradient, 2e-5)
    assert_same({key: got[key] for key in metrics}, metrics)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": np.zeros((ROWS, LENGTH))}, r"tokens has shape .* expected \[rows, 2, length\]"),
        ({"segments": np.zeros((ROWS, 2, 3))}, r"segments has shape \(8, 2, 3\); expected"),
        ({"desirable": np.zeros((ROWS, 2), bool)}, r"desirable has shape .* expected \(8,\)"),
        ({"reference_log_probabilities": np.full((ROWS, 2), np.nan)}, r"\[0, 0\] is nan"),
        ({"reference_log_probabilities": np.full((ROWS, 2), 0.5)}, "expected a finite number"),
    ],
)
def test_bad_batches_are_named(batch, change, message):
    check_preferences(batch, labels=True)
    with pytest.raises(InputError, match=message):
        check_preferences({**batch, **change}, labels=True)


def test_missing_arrays_and_empty_completions_are_named(batch):
    without = {key: batch[key] for key in ("tokens", "targets_mask", "segments", "positions")}
    check_preferences(without, reference=False)
    with pytest.raises(InputError, match="no 'reference_log_probabilities'"):
        check_preferences(without)
    mask = batch["targets_mask"].copy()
    mask[3, 1] = False
    with pytest.raises(InputError, match="completion 1 of pair 3 is empty"):
        check_preferences({**batch, "targets_mask": mask})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dpo(MODEL, -1.0), "beta is"),
        (lambda: dpo(MODEL, variant="hing"), "variant is 'hing'"),
        (lambda: dpo(MODEL, variant="hinge", label_smoothing=0.1), "the hinge has none"),
        (lambda: orpo(MODEL, likelihood_of="prompt"), "likelihood_of is 'prompt'"),
        (lambda: anchored(MODEL, "apo"), "loss is 'apo'; expected one of apo_zero"),
        (lambda: simpo(MODEL, gamma=-1.0), "gamma is"),
        (lambda: kto(MODEL, desirable_weight=-1.0), "desirable_weight is"),
    ],
)
def test_bad_settings_are_refused_when_the_objective_is_made(make, message):
    with pytest.raises(InputError, match=message):
        make()

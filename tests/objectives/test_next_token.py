"""The loss against its definition, and what must never change it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models import AttentionSpec, Transformer, TransformerConfig
from jaxreason.objectives import next_token

CONFIG = TransformerConfig(
    vocabulary_size=19, layers=3, width=16, heads=2, kv_heads=1, head_size=8, mlp_width=24
)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def params():
    random = jax.jit(Transformer(CONFIG).init)(jax.random.key(1))
    return {**random, "embedding": random["embedding"] * 30}


@pytest.fixture(scope="module")
def batch():
    """Two packed rows: examples of 5 and 4 tokens with padding, and of 3 and 9."""
    segments = np.array([[1] * 5 + [2] * 4 + [0] * 3, [1] * 3 + [2] * 9])
    positions = np.array([[*range(5), *range(4), 0, 0, 0], [*range(3), *range(9)]])
    tokens = np.random.default_rng(0).integers(0, 19, (2, 12))
    # Prompts are two tokens long; the first token of a segment is marked too, and must not count.
    mask = (segments > 0) & ((positions >= 2) | (positions == 0))
    return {
        "tokens": jnp.asarray(tokens, jnp.int32),
        "targets_mask": jnp.asarray(mask),
        "segments": jnp.asarray(segments, jnp.int32),
        "positions": jnp.asarray(positions, jnp.int32),
    }


def value_and_gradient(config, params, batch, chunk=None):
    objective = next_token(Transformer(config), chunk)
    step = jax.jit(jax.value_and_grad(lambda p: objective(p, batch, KEY), has_aux=True))
    (loss, metrics), gradient = step(params)
    return loss, metrics, gradient


@pytest.fixture(scope="module")
def reference(params, batch):
    return value_and_gradient(CONFIG, params, batch)


def assert_same(got, expected, tolerance=1e-6):
    np.testing.assert_allclose(got[0], expected[0], rtol=tolerance, atol=tolerance)
    assert got[1]["loss"][1] == expected[1]["loss"][1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got[2],
        expected[2],
    )


def test_loss_and_accuracy_equal_their_definition(params, batch, reference):
    """Every example alone, in a row without padding, token by token in NumPy."""
    model = Transformer(CONFIG)
    apply = jax.jit(lambda tokens: model.unembed(params, model.apply(params, tokens)[0]))
    total, correct, count = 0.0, 0, 0
    for row in range(2):
        for segment in (1, 2):
            at = np.flatnonzero(np.asarray(batch["segments"][row]) == segment)
            tokens = np.asarray(batch["tokens"][row])[at]
            padded = np.zeros((1, 12), np.int32)
            padded[0, : len(tokens)] = tokens
            logits = np.asarray(apply(padded))[0].astype(float)
            for i in range(1, len(tokens)):
                if batch["targets_mask"][row, at[i]]:
                    scores = logits[i - 1]
                    total += np.log(np.exp(scores).sum()) - scores[tokens[i]]
                    correct += int(np.argmax(scores) == tokens[i])
                    count += 1
    loss, metrics, _ = reference
    assert count == 3 + 2 + 1 + 7
    assert metrics["loss"][1] == metrics["accuracy"][1] == count
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"][0], total, rtol=1e-5)
    assert metrics["accuracy"][0] == correct


@pytest.mark.parametrize("chunk", [5, 8])
def test_chunks_change_neither_loss_nor_gradient(params, batch, reference, chunk):
    assert_same(value_and_gradient(CONFIG, params, batch, chunk), reference)


@pytest.mark.parametrize(
    "changes",
    [
        {"remat": "dots"},
        {"remat": "names"},
        {"remat": "full"},
        {"unroll": 2},
    ],
    ids=str,
)
def test_memory_and_unrolling_policies_change_nothing(params, batch, reference, changes):
    assert_same(value_and_gradient(replace(CONFIG, **changes), params, batch), reference)


def test_padding_tokens_never_matter(params, batch, reference):
    padding = batch["segments"] == 0
    other = {
        **batch,
        "tokens": jnp.where(padding, 7, batch["tokens"]),
        "targets_mask": batch["targets_mask"] | padding,
    }
    assert_same(value_and_gradient(CONFIG, params, other), reference)


def test_packed_logits_equal_those_of_each_example_alone(params, batch):
    model = Transformer(CONFIG)
    spec = AttentionSpec(segments=batch["segments"])
    packed, _ = model.apply(params, batch["tokens"], batch["positions"], spec)
    alone, _ = model.apply(params, batch["tokens"][1:, 3:])
    np.testing.assert_allclose(packed[1, 3:], alone[0], atol=1e-5)


@pytest.mark.parametrize(
    ("row", "column", "counts"),
    [(0, 2, True), (0, 1, False), (0, 4, True), (1, 11, True), (0, 9, False)],
)
def test_a_target_is_the_token_marked_predicted_from_what_precedes_it(
    params, batch, row, column, counts
):
    """One token marked alone counts its own loss: a mask shifted by one would count another."""
    marked = jnp.zeros_like(batch["targets_mask"]).at[row, column].set(counts)
    objective = next_token(Transformer(CONFIG))
    loss, metrics = objective(params, {**batch, "targets_mask": marked}, KEY)
    assert metrics["loss"][1] == int(counts)
    if not counts:
        assert loss == 0
        return
    model = Transformer(CONFIG)
    spec = AttentionSpec(segments=batch["segments"])
    hidden, _ = model.apply(params, batch["tokens"], batch["positions"], spec)
    scores = model.unembed(params, hidden)[row, column - 1]
    expected = -jax.nn.log_softmax(scores)[batch["tokens"][row, column]]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_batch_without_targets_has_zero_loss_and_gradient(params, batch):
    empty = {**batch, "targets_mask": jnp.zeros_like(batch["targets_mask"])}
    loss, metrics, gradient = value_and_gradient(CONFIG, params, empty)
    assert loss == 0
    assert metrics["loss"][1] == 0
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(gradient))


def test_bfloat16_keeps_parameters_logits_and_gradients_in_float32(params, batch, reference):
    config = replace(CONFIG, dtype="bfloat16")
    model = Transformer(config)
    hidden, _ = model.apply(params, batch["tokens"])
    assert hidden.dtype == jnp.bfloat16
    assert model.unembed(params, hidden).dtype == jnp.float32
    loss, _, gradient = value_and_gradient(config, params, batch)
    assert loss.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(loss, reference[0], rtol=3e-2)

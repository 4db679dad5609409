"""One step: exact accumulation, donation, one compilation per shape, the non-finite guard."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import training_toy as toy

from jaxreason.errors import InputError
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.program import _token_count
from jaxreason.training.state import init_state
from jaxreason.training.step import _tokens, make_step

SGD = optax.sgd(1.0)


def state_of(optimizer, mesh=None):
    return init_state(toy.init, optimizer, jax.random.key(0), mesh)


def uneven_batch():
    """Rows with very different numbers of targets, and a micro-batch with none."""
    batch = toy.make_batch(0, rows=12)
    batch["targets_mask"][::4] = False
    batch["targets_mask"][1, 1:] = False
    return batch


def relative_error(tree, wanted):
    difference = optax.global_norm(jax.tree.map(lambda a, b: a - b, tree, wanted))
    return float(difference / optax.global_norm(wanted))


@pytest.mark.parametrize("parts", [2, 3, 4, 6, 12])
def test_accumulation_equals_the_large_batch(parts):
    batch = uneven_batch()
    states = {}
    for accumulation in (1, parts):
        step = make_step(toy.quiet, SGD, accumulation=accumulation)
        states[accumulation], metrics = step(state_of(SGD), batch)
        assert float(metrics["loss"][1]) == batch["targets_mask"].sum()
    start = state_of(SGD).params
    # The learning rate is 1, so the change of the parameters is the gradient.
    gradients = [jax.tree.map(lambda a, b: b - a, start, s.params) for s in states.values()]
    assert relative_error(gradients[1], gradients[0]) < 1e-6


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ({"tokens": np.zeros((2, 5)), "segments": np.array([[1, 1, 2, 0, 0]] * 2)}, 6),
        ({"a_mask": np.zeros((2, 3)), "tokens": np.zeros((2, 5))}, 10),
        ({"images": np.zeros((4, 8, 8, 3))}, 4),
        ({"weights": np.zeros(4), "images": np.zeros((4, 8, 8, 3))}, 4),
    ],
)
def test_several_processes_count_the_tokens_that_one_counts(batch, count):
    assert _token_count(batch) == count
    assert int(jax.jit(_tokens)(batch)) == count


def test_a_step_counts_tokens_whatever_the_number_of_processes():
    batch = uneven_batch()
    _, metrics = make_step(toy.quiet, SGD)(state_of(SGD), batch)
    assert int(metrics["tokens"][0]) == _token_count(batch)


def test_batch_without_targets_changes_nothing():
    batch = uneven_batch()
    batch["targets_mask"][:] = False
    for accumulation in (1, 3):
        state, metrics = make_step(toy.quiet, SGD, accumulation=accumulation)(state_of(SGD), batch)
        assert float(metrics["skipped"][0]) == 0
        jax.tree.map(np.testing.assert_array_equal, state.params, state_of(SGD).params)


def test_step_equals_optax_written_out():
    optimizer = make_optimizer(OptimizerConfig(warmup_steps=1))
    state, batch = state_of(optimizer), toy.make_batch(0)
    key = jax.random.fold_in(state.key, 0)
    (_, _), gradients = jax.value_and_grad(toy.objective, has_aux=True)(state.params, batch, key)
    updates, _ = optimizer.update(gradients, state.optimizer_state, state.params)
    wanted = optax.apply_updates(state.params, updates)
    norm = optax.global_norm(gradients)
    after, metrics = make_step(toy.objective, optimizer)(state, batch)
    assert relative_error(after.params, wanted) < 1e-6
    np.testing.assert_allclose(metrics["gradient_norm"][0], norm, rtol=1e-5)
    assert int(after.step) == 1


def test_each_step_has_its_own_key():
    def noisy(params, batch, key):
        value = jax.random.normal(key) + 0 * params["head"].sum()
        return value, {"loss": (value, jnp.ones(()))}

    step, state, batch = make_step(noisy, SGD), state_of(SGD), toy.make_batch(0)
    key = np.asarray(jax.random.key_data(state.key))
    seen = []
    for _ in range(3):
        state, metrics = step(state, batch)
        seen.append(float(metrics["loss"][0]))
    fresh = jax.random.wrap_key_data(key)
    wanted = [float(jax.random.normal(jax.random.fold_in(fresh, n))) for n in range(3)]
    assert seen == wanted
    assert len(set(seen)) == 3


@pytest.mark.parametrize("accumulation", [1, 2])
def test_non_finite_updates_are_skipped_and_counted(accumulation):
    def sometimes_bad(params, batch, key):
        loss, metrics = toy.quiet(params, batch, key)
        # The loss stays finite and only the gradient breaks for token 15, both for token 14.
        poison = jnp.where((batch["tokens"] == 15).any(), jnp.nan, 1.0)
        broken = jnp.where((batch["tokens"] == 14).any(), jnp.inf, 1.0)
        scaled = loss * broken + 0 * jax.lax.stop_gradient(loss)
        bent = scaled + (poison * params["head"][0, 0] - poison * params["head"][0, 0]) * 0
        bent = jax.lax.stop_gradient(scaled) + (bent - jax.lax.stop_gradient(bent))
        value = jnp.where(jnp.isnan(bent), jax.lax.stop_gradient(scaled), bent)
        return value, {"loss": (value * metrics["loss"][1], metrics["loss"][1])}

    optimizer = make_optimizer(OptimizerConfig())
    step, state = make_step(sometimes_bad, optimizer, accumulation=accumulation), None
    state = state_of(optimizer)
    good = toy.make_batch(1, length=6)
    good["tokens"] %= 13
    broken = {**good, "tokens": good["tokens"].copy()}
    broken["tokens"][0, 0] = 14
    state, _ = step(state, good)
    before = jax.device_get((state.params, state.optimizer_state))
    for count in (1, 2):
        state, metrics = step(state, broken)
        assert float(metrics["skipped"][0]) == 1
        assert float(metrics["consecutive_skipped"][0]) == count
        assert float(metrics["loss"][0]) == float(metrics["loss"][1]) == 0
        after = jax.device_get((state.params, state.optimizer_state))
        jax.tree.map(np.testing.assert_array_equal, after, before)
    state, metrics = step(state, good)
    assert (int(state.step), int(state.skipped), int(state.consecutive_skipped)) == (4, 2, 0)
    assert float(metrics["loss"][1]) > 0
    assert relative_error(state.params, before[0]) > 0


def test_non_finite_gradient_of_a_finite_loss_is_skipped():
    def kinked(params, batch, key):
        # sqrt has slope infinity at 0, so the gradient is not finite while the loss is 0.
        value = jnp.sqrt(0.0 * params["head"][0, 0] ** 2)
        return value, {"loss": (value, jnp.ones(()))}

    state, metrics = make_step(kinked, SGD)(state_of(SGD), toy.make_batch(0))
    assert float(metrics["skipped"][0]) == 1
    jax.tree.map(np.testing.assert_array_equal, state.params, state_of(SGD).params)


def test_compiles_once_per_batch_shape():
    traces = []

    def counted(params, batch, key):
        traces.append(batch["tokens"].shape)
        return toy.objective(params, batch, key)

    step, state = make_step(counted, SGD), state_of(SGD)
    for index in range(9):
        state, _ = step(state, toy.make_batch(index))
    assert sorted(traces) == [(8, 6), (8, 9)]


@pytest.mark.parametrize("mesh", [None, (4, 2)])
def test_state_is_donated(mesh):
    optimizer = make_optimizer(OptimizerConfig())
    mesh = mesh and toy.toy_mesh(*mesh)
    step, state = make_step(toy.objective, optimizer, mesh), state_of(optimizer, mesh)
    leaves = [x for x in jax.tree.leaves((state.params, state.optimizer_state))]
    own = sum(x.addressable_shards[0].data.nbytes for x in leaves)
    memory = step.compile(state, toy.make_batch(0)).memory_analysis()
    assert memory.alias_size_in_bytes >= 0.99 * own
    step(state, toy.make_batch(0))
    assert all(leaf.is_deleted() for leaf in leaves)


def test_rows_that_cannot_be_split_are_refused():
    step = make_step(toy.objective, SGD, toy.toy_mesh(4, 2), accumulation=3)
    with pytest.raises(InputError, match=r"8 rows is not divisible by accumulation=3 x .*fsdp=4"):
        step(state_of(SGD, toy.toy_mesh(4, 2)), toy.make_batch(0))
    with pytest.raises(InputError, match="accumulation=0"):
        make_step(toy.objective, SGD, accumulation=0)

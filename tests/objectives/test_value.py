"""The critic and its loss: alignment, clipping, the zero start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_toys import MASK, padded, rollout_batch

from jaxreason.errors import InputError
from jaxreason.models import Critic, Transformer, TransformerConfig
from jaxreason.objectives.value import value_loss

CONFIG = TransformerConfig(5, 1, 8, 2, 1, 4, 12, tied=False)
VALUES = padded([[0.5, 0.1, -0.3, 2.0], [1.0, 0.0]], fill=9.0)
OLD = padded([[0.1, 0.1, 0.1, 0.1], [0.7, 0.0]], fill=9.0)
RETURNS = padded([[0.0, 1.0, 0.0, 2.5], [0.5, 0.0]], fill=9.0)


class Given:
    """A critic whose values are its parameters."""

    def values(self, params, batch):
        return params


def loss_of(values, clip):
    with jax.enable_x64(True):
        batch = rollout_batch(returns=jnp.asarray(RETURNS), old_values=jnp.asarray(OLD))
        return jax.value_and_grad(value_loss(Given(), clip), has_aux=True)(
            jnp.asarray(values), batch, None
        )


def by_hand(clip):
    errors = (VALUES - RETURNS) ** 2
    clipped = (np.clip(VALUES, OLD - clip, OLD + clip) - RETURNS) ** 2
    return 0.5 * np.maximum(errors, clipped), errors, clipped


def test_value_loss_is_half_the_larger_of_the_two_squared_errors():
    losses, errors, clipped = by_hand(0.2)
    (loss, metrics), gradient = loss_of(VALUES, 0.2)
    assert float(loss) == pytest.approx(losses[MASK].mean(), abs=1e-12)
    # Where the clipped value is further off, moving the value changes nothing.
    wanted = np.where(MASK & (clipped <= errors), (VALUES - RETURNS) / 6, 0)
    np.testing.assert_allclose(gradient, wanted, atol=1e-12)
    assert float(metrics["clip_fraction"][0]) == np.sum((clipped > errors)[MASK]) > 0
    assert float(metrics["value"][0]) == pytest.approx(VALUES[MASK].sum())
    assert float(metrics["squared_error"][0]) == pytest.approx(errors[MASK].sum())


def test_without_clip_the_value_loss_is_half_the_squared_error():
    (loss, _), gradient = loss_of(VALUES, None)
    assert float(loss) == pytest.approx(0.5 * by_hand(1)[1][MASK].mean(), abs=1e-12)
    np.testing.assert_allclose(gradient, np.where(MASK, (VALUES - RETURNS) / 6, 0), atol=1e-12)


@pytest.fixture(scope="module")
def policy():
    return jax.jit(Transformer(CONFIG).init)(jax.random.key(0))


def batch_of(tokens):
    shape = tokens.shape
    return {
        "tokens": jnp.asarray(tokens),
        "segments": jnp.ones(shape, jnp.int32),
        "positions": jnp.broadcast_to(jnp.arange(shape[1]), shape),
    }


def test_a_critic_starts_from_the_policys_trunk_with_values_of_zero(policy):
    critic = Critic(CONFIG)
    params = critic.from_policy(policy)
    assert set(params["trunk"]) == {"embedding", "layers", "final_norm"}
    fresh = jax.eval_shape(critic.init, jax.random.key(1))
    assert jax.tree.map(lambda x: x.shape, fresh) == jax.tree.map(jnp.shape, params)
    # Copies: a step donates its state, and the policy's must survive that.
    for mine, theirs in zip(
        jax.tree.leaves(params["trunk"]),
        jax.tree.leaves({k: policy[k] for k in params["trunk"]}),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.unsafe_buffer_pointer() != theirs.unsafe_buffer_pointer()
    values = jax.jit(critic.values)(params, batch_of(np.zeros((1, 5), np.int32)))
    assert values.dtype == jnp.float32
    assert not values.any()


def test_a_value_depends_on_the_tokens_before_it_only(policy):
    critic = Critic(CONFIG)
    params = {**critic.from_policy(policy), "value_head": jnp.arange(8.0)}
    values = jax.jit(critic.values)
    tokens = np.array([[1, 2, 3, 4, 0]], np.int32)
    before = values(params, batch_of(tokens))
    tokens[0, 2] = 0
    changed = np.abs(values(params, batch_of(tokens)) - before)[0] > 1e-6
    np.testing.assert_array_equal(changed, [False, False, False, True, True])
    assert before[0, 0] == 0
    model = Transformer(CONFIG)
    tokens[0, 2] = 3
    hidden, _ = jax.jit(model.apply)(policy, jnp.asarray(tokens))
    np.testing.assert_allclose(before[0, 1:], hidden[0, :-1] @ jnp.arange(8.0), rtol=1e-4)


def test_bad_clips_and_missing_arrays_are_refused():
    for clip in (0, -1, float("nan")):
        with pytest.raises(InputError, match="value_clip"):
            value_loss(Given(), clip)
    for name in ("returns", "old_values"):
        arrays = {"returns": jnp.asarray(RETURNS), "old_values": jnp.asarray(OLD), name: None}
        with pytest.raises(InputError, match=f"lacks '{name}'"):
            value_loss(Given())(jnp.asarray(VALUES), rollout_batch(**arrays), None)

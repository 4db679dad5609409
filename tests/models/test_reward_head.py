"""ImageReward's head: the published scale and names, any features."""

import jax
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models.reward_head import RewardHead

HEAD = RewardHead(6, (5, 4, 3))


def test_it_is_a_stack_of_linear_layers_on_the_published_scale():
    generator = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: generator.standard_normal(leaf.shape), HEAD.init(jax.random.key(0))
    )
    features = generator.standard_normal((7, 6))
    x = features
    for i in range(4):
        x = x @ params[f"kernel_{i}"] + params[f"bias_{i}"]
    expected = (x[:, 0] - 0.16717362830052426) / 1.0333394966054072
    np.testing.assert_allclose(HEAD.apply(params, features), expected, rtol=1e-4)


def test_published_size_names_and_start():
    head = RewardHead()
    params = head.init(jax.random.key(1))
    assert params["kernel_0"].std() == pytest.approx(1 / 769, rel=0.01)
    weights = head.to_published(params)
    assert {name: array.shape for name, array in weights.items() if "weight" in name} == {
        "mlp.layers.0.weight": (1024, 768),
        "mlp.layers.2.weight": (128, 1024),
        "mlp.layers.4.weight": (64, 128),
        "mlp.layers.6.weight": (16, 64),
        "mlp.layers.7.weight": (1, 16),
    }
    back = head.from_published(weights | {"blip.text_encoder.x": np.zeros(1)})
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("mlp.layers.2.bias"), r"lack 'mlp.layers.2.bias'"),
        (lambda w: w.update({"mlp.layers.9.bias": 0}), r"hold 'mlp.layers.9.bias'"),
        (
            lambda w: w.update({"mlp.layers.5.weight": np.zeros((2, 3))}),
            r"'mlp.layers.5' has shapes \(2, 3\) and \(1,\); expected \(1, 3\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(change, message):
    weights = HEAD.to_published(HEAD.init(jax.random.key(0)))
    change(weights)
    with pytest.raises(InputError, match=message):
        HEAD.from_published(weights)


def test_settings_and_features_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="deviation 0"):
        RewardHead(6, deviation=0)
    with pytest.raises(InputError, match=r"widths \(0,\)"):
        RewardHead(6, (0,))
    with pytest.raises(InputError, match=r"features have shape \(2, 5\); expected \[B, 6\]"):
        HEAD.apply(HEAD.init(jax.random.key(0)), np.zeros((2, 5)))

"""The published algorithms: their choices, what is refused, and one training step of each."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from policy_toys import VOCABULARY, Bigram, algorithm, drawn_batch

from jaxreason.errors import InputError
from jaxreason.objectives.advantages import compute_advantages
from jaxreason.objectives.aggregation import AGGREGATIONS
from jaxreason.objectives.algorithms import ALGORITHMS, AlgorithmConfig
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.objectives.process_reward import implicit_rewards
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.state import init_state
from jaxreason.training.step import make_step

# name: aggregation, deviation, estimator, placement, coefficient, second network
CHOICES = {
    "grpo": ("seq_mean_token_mean", "group", "k3", "loss", 0.04, None),
    "dr_grpo": ("seq_sum_over_constant", "none", "k3", "none", 0, None),
    "dapo": ("token_mean", "group", "k3", "none", 0, None),
    "gspo": ("seq_mean_token_mean", "group", "k3", "none", 0, None),
    "cispo": ("token_mean", "group", "k3", "none", 0, None),
    "rloo": ("seq_mean_token_mean", "none", "k1", "reward", 0.05, None),
    "reinforce": ("seq_mean_token_sum", "none", "k1", "none", 0, None),
    "reinforce_plus_plus": ("token_mean", "none", "k1", "reward", 0.01, None),
    "reinforce_plus_plus_baseline": ("token_mean", "none", "k2", "loss", 0.001, None),
    "ppo": ("token_mean", "none", "k1", "reward", 0.05, "critic"),
    "prime": ("token_mean", "none", "k1", "none", 0, "reward_model"),
    "raft_plus_plus": ("seq_mean_token_mean", "none", "k1", "none", 0, None),
}


def test_every_algorithm_makes_its_published_choices():
    assert set(ALGORITHMS) == set(CHOICES)
    for name, config in ALGORITHMS.items():
        found = (
            config.aggregation,
            config.standard_deviation,
            config.kl_estimator,
            config.kl_placement,
            config.kl_coefficient,
            config.auxiliary,
        )
        assert found == CHOICES[name], name
        assert config.needs_reference == (config.kl_coefficient > 0 or name == "prime")
    dapo, gspo = ALGORITHMS["dapo"], ALGORITHMS["gspo"]
    assert (dapo.clip_low, dapo.clip_high, dapo.overlong) == (0.2, 0.28, "soft")
    assert (gspo.clip_low, gspo.clip_high) == (3e-4, 4e-4)
    # DAPO's buffer of 4096 in 20480 tokens is a fifth.
    assert dapo.buffer(20480) == 4096


def test_aggregation_deviation_and_kl_have_no_defaults():
    for name in ("aggregation", "standard_deviation", "kl_estimator", "kl_placement"):
        fields = {
            "advantage": "grpo",
            "surrogate": "clip",
            "aggregation": "token_mean",
            "standard_deviation": "group",
            "kl_estimator": "k3",
            "kl_placement": "none",
        }
        del fields[name]
        with pytest.raises(TypeError, match=name):
            AlgorithmConfig(**fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"advantage": "best"}, "advantage='best': expected one of grpo, centered"),
        ({"surrogate": "max"}, "surrogate='max'"),
        ({"aggregation": "mean"}, "aggregation='mean': expected one of token_mean"),
        ({"standard_deviation": "all"}, "standard_deviation='all'"),
        ({"kl_estimator": "k9"}, "kl_estimator='k9'"),
        ({"kl_placement": "advantage"}, "kl_placement='advantage'"),
        ({"overlong": "drop"}, "overlong='drop'"),
        ({"process_granularity": "word"}, "process_granularity='word'"),
        ({"degrees_of_freedom": 2}, "degrees_of_freedom=2: expected one of 0, 1"),
        ({"clip_low": -0.1}, "clip_low=-0.1: expected a distance from 1"),
        ({"clip_high": float("nan")}, "clip_high=nan"),
        ({"dual_clip": 0.5}, "dual_clip=0.5: expected more than 1"),
        ({"ratio_cap": 0.0}, "ratio_cap=0.0"),
        ({"value_clip": -1.0}, "value_clip=-1.0"),
        ({"discount": 1.5}, "discount=1.5: expected a number between 0 and 1"),
        ({"trace_decay": -0.5}, "trace_decay=-0.5"),
        ({"entropy_coefficient": float("inf")}, "entropy_coefficient=inf"),
        ({"process_beta": 0.0}, "process_beta=0.0"),
        ({"missing_end_penalty": -1.0}, "missing_end_penalty=-1.0"),
        ({"overlong_buffer": -1}, "overlong_buffer=-1"),
        ({"kl_coefficient": 0.1}, "kl_coefficient=0.1 with kl_placement='none' has no effect"),
        ({"advantage": "prime", "kl_placement": "reward"}, "'reward' does not go with"),
        ({"advantage": "rloo", "standard_deviation": "batch"}, "belongs to advantage='grpo'"),
        ({"advantage": "gae", "surrogate": "gspo"}, "use 'gspo_token' or 'clip'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        algorithm(**changes)


def test_a_buffer_longer_than_a_completion_is_refused():
    with pytest.raises(InputError, match="overlong_buffer=9: expected at most the limit of 8"):
        algorithm(overlong="soft", overlong_buffer=9).buffer(8)


SGD = optax.sgd(1.0)
PENALISED = {"kl_placement": "loss", "kl_coefficient": 0.1, "entropy_coefficient": 0.01}


def gradient_by_step(config, parts=1, mesh=None):
    """The learning rate is 1, so the change of the parameters is the gradient."""
    model = Bigram()
    objective = policy_gradient(model, config, max_tokens=4, batch_rows=8)
    state = init_state(model.init, SGD, jax.random.key(0), mesh)
    before = np.asarray(state.params["embedding"])
    state, metrics = make_step(objective, SGD, mesh, accumulation=parts)(state, drawn_batch())
    total, count = metrics["loss"]
    return before - np.asarray(state.params["embedding"]), float(total / count)


@cache
def gradients_at_once():
    """(gradient, loss) of the whole batch for every aggregation, in one program."""
    model = Bigram()
    params = init_state(model.init, SGD, jax.random.key(0)).params

    @jax.jit
    def evaluate(params, batch):
        found = {}
        for how in AGGREGATIONS:
            config = algorithm(aggregation=how, **PENALISED)
            run = policy_gradient(model, config, max_tokens=4, batch_rows=8)
            (loss, _), gradient = jax.value_and_grad(run, has_aux=True)(params, batch, None)
            found[how] = gradient["embedding"], loss
        return found

    return jax.device_get(evaluate(params, drawn_batch()))


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_accumulation_is_exact_for_all_but_the_local_mean(how):
    config = algorithm(aggregation=how, **PENALISED)
    whole, loss = gradients_at_once()[how]
    # Micro-batch 3 of 4 holds the two rows without any completion token.
    parts, accumulated = gradient_by_step(config, 4)
    assert np.abs(whole).max() > 1e-3
    if how == "token_mean_local":
        assert np.abs(parts - whole).max() > 1e-3
    else:
        np.testing.assert_allclose(parts, whole, atol=1e-6)
        assert accumulated == pytest.approx(loss, abs=1e-6)


def test_a_step_on_eight_devices_equals_that_on_one():
    config = algorithm(aggregation="seq_mean_token_mean", **PENALISED)
    mesh = make_mesh(MeshConfig(fsdp=8), jax.devices()[:8])
    whole, loss = gradients_at_once()[config.aggregation]
    split, found = gradient_by_step(config, mesh=mesh)
    np.testing.assert_allclose(split, whole, atol=1e-6)
    assert found == pytest.approx(loss, abs=1e-6)


def learned(config, reward_of_tokens, steps=12):
    """Probability of the rewarded token after a few on-policy updates of a bigram model."""
    group, prompts = 8, 4
    rows = group * prompts
    model, params = Bigram(), {"embedding": jnp.zeros((VOCABULARY, VOCABULARY))}
    objective = policy_gradient(model, config, max_tokens=2, batch_rows=rows)

    @jax.jit
    def update(params, key):
        tokens = jnp.zeros((rows, 3), jnp.int32)
        for t in (1, 2):
            key, draw = jax.random.split(key)
            logits = params["embedding"][tokens[:, t - 1]]
            tokens = tokens.at[:, t].set(jax.random.categorical(draw, logits))
        mask = jnp.broadcast_to(jnp.arange(3) > 0, tokens.shape)
        table = jax.nn.log_softmax(params["embedding"])
        old = jnp.where(mask, table[jnp.roll(tokens, 1, axis=1), tokens], 0)
        uniform = jnp.where(mask, -jnp.log(float(VOCABULARY)), 0)
        rollout = {
            "rewards": reward_of_tokens(tokens),
            "finished": jnp.ones(rows, bool),
            "targets_mask": mask,
            "log_probabilities": old,
            "reference_log_probabilities": uniform,
            "values": jnp.zeros_like(old),
        }
        rollout["process_rewards"] = implicit_rewards(config, old, uniform, mask)
        result = compute_advantages(config, rollout, group=group, max_tokens=2)
        batch = {
            "tokens": tokens,
            "targets_mask": result["targets_mask"],
            "segments": jnp.ones_like(tokens),
            "positions": jnp.broadcast_to(jnp.arange(3), tokens.shape),
            "advantages": result["advantages"],
            "old_log_probabilities": old,
            "reference_log_probabilities": uniform,
        }
        gradient = jax.grad(lambda p: objective(p, batch, None)[0])(params)
        return jax.tree.map(
            lambda p, g: p - g / (optax.global_norm(gradient) + 1e-6), params, gradient
        )

    for key in jax.random.split(jax.random.key(0), steps):
        params = update(params, key)
    return float(jax.nn.softmax(params["embedding"][0])[3])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_makes_rewarded_tokens_likelier(name):
    config = ALGORITHMS[name]
    if config.overlong == "soft":
        # Two tokens are always the limit here, and all would be punished alike.
        config = replace(config, overlong="none")
    assert learned(config, lambda tokens: (tokens[:, 1] == 3).astype(jnp.float32)) > 0.5

"""Mistakes that other implementations made, each made here and caught by a test named beside it."""

import importlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_advantages
import test_policy_gradient
import test_process_reward
import test_value

# The packages export functions of the same names.
MODULES = {
    name: importlib.import_module(f"jaxreason.objectives.{name}")
    for name in (
        "advantage_estimators",
        "advantages",
        "policy_gradient",
        "process_reward",
        "value",
    )
}


class Altered:
    """A module with some functions replaced."""

    def __init__(self, module, **functions):
        self.__dict__.update(functions)
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, name)


def inverted_gate(a, b):
    """The larger surrogate for bad tokens, as in a library whose clip rule was the wrong way."""
    return jnp.where(a < 0, jnp.maximum(a, b), jnp.minimum(a, b))


def other_degrees(x, *, ddof, **options):
    return jnp.std(x, ddof=1 - ddof, **options)


def biased_whiten(values, mask):
    chosen = np.asarray(values)[np.asarray(mask)]
    return jnp.where(mask, (values - chosen.mean()) / chosen.std(), 0)


ORIGINAL = {
    (module, name): getattr(MODULES[module], name)
    for module, name in (
        ("policy_gradient", "aggregate"),
        ("policy_gradient", "counted"),
        ("policy_gradient", "kl_divergence"),
        ("policy_gradient", "surrogate_losses"),
        ("policy_gradient", "token_statistics"),
        ("advantages", "kl_divergence"),
        ("advantages", "leave_one_out"),
    )
}


def original(module, name):
    return ORIGINAL[module, name]


def sums_for_means(values, mask, how, *constants):
    how = {"seq_mean_token_mean": "seq_mean_token_sum"}.get(how, how)
    return original("policy_gradient", "aggregate")(values, mask, how, *constants)


def shifted_mask(batch):
    return jnp.roll(original("policy_gradient", "counted")(batch), -1, axis=1)


def k1_in_the_loss(current, reference, estimator):
    return original("policy_gradient", "kl_divergence")(current, reference, "k1")


def wrong_sign(*arguments):
    losses, ratios, clipped = original("policy_gradient", "surrogate_losses")(*arguments)
    return -losses, ratios, clipped


def no_temperature(model, params, batch, chunk, temperature):
    return original("policy_gradient", "token_statistics")(model, params, batch, chunk)


def reversed_kl(current, reference, estimator):
    return original("advantages", "kl_divergence")(reference, current, estimator)


def inclusive_baseline(rewards, group):
    return original("advantages", "leave_one_out")(rewards, group) * (group - 1) / group


def first_tokens(mask):
    return mask & (jnp.cumsum(mask, axis=1) == 1)


LEAKING = SimpleNamespace(lax=SimpleNamespace(stop_gradient=lambda x: x))
SWAPPED = Altered(jax, nn=SimpleNamespace(log_sigmoid=lambda x: jax.nn.log_sigmoid(-x)))
policy, advantage = test_policy_gradient, test_advantages

# (module, name, what stands there instead, the test that must fail)
MUTATIONS = {
    "max_for_negative_advantages": (
        *("policy_gradient", "jnp", Altered(jnp, minimum=inverted_gate)),
        policy.test_the_clip_stops_gradients_only_where_the_policy_already_moved_the_right_way,
    ),
    "cispo_without_stop_gradient": (
        *("policy_gradient", "jax", LEAKING),
        policy.test_cispo_weighs_log_probabilities_by_constant_ratios,
    ),
    "k1_in_the_loss": (
        *("policy_gradient", "kl_divergence", k1_in_the_loss),
        policy.test_every_aggregation_gives_the_worked_loss_with_k3_in_the_loss,
    ),
    "sum_for_mean": (
        *("policy_gradient", "aggregate", sums_for_means),
        policy.test_every_aggregation_gives_the_worked_loss_without_kl,
    ),
    "mask_shifted_by_one": (
        *("policy_gradient", "counted", shifted_mask),
        policy.test_every_aggregation_gives_the_worked_loss_without_kl,
    ),
    "wrong_sign": (
        *("policy_gradient", "surrogate_losses", wrong_sign),
        policy.test_cispo_gives_the_worked_loss,
    ),
    "temperature_forgotten": (
        *("policy_gradient", "token_statistics", no_temperature),
        policy.test_temperature_divides_the_logits,
    ),
    "other_degrees_of_freedom": (
        *("advantage_estimators", "jnp", Altered(jnp, std=other_degrees)),
        advantage.test_group_advantages_follow_each_librarys_convention,
    ),
    "whitening_with_the_biased_variance": (
        *("advantages", "whiten", biased_whiten),
        advantage.test_whole_completions_are_whitened_token_by_token,
    ),
    "baseline_with_the_completion_itself": (
        *("advantages", "leave_one_out", inclusive_baseline),
        advantage.test_each_method_spreads_its_advantage_over_the_tokens_of_the_completion,
    ),
    "kl_of_the_reward_the_wrong_way": (
        *("advantages", "kl_divergence", reversed_kl),
        advantage.test_sequence_methods_take_the_summed_divergence_off_the_reward,
    ),
    "score_on_the_first_token": (
        *("advantages", "last_tokens", first_tokens),
        advantage.test_token_methods_put_the_divergence_on_every_token_and_the_score_on_the_last,
    ),
    "smaller_of_the_two_value_errors": (
        *("value", "jnp", Altered(jnp, maximum=jnp.minimum)),
        test_value.test_value_loss_is_half_the_larger_of_the_two_squared_errors,
    ),
    "labels_swapped": (
        *("process_reward", "jax", SWAPPED),
        test_process_reward.test_loss_is_the_cross_entropy_of_the_summed_log_ratio,
    ),
    "process_reward_on_the_first_token": (
        *("process_reward", "last_tokens", first_tokens),
        test_process_reward.test_each_token_but_the_last_is_worth_its_log_ratio,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_mistake_is_caught(name, monkeypatch):
    module, attribute, instead, test = MUTATIONS[name]
    monkeypatch.setattr(MODULES[module], attribute, instead)
    with jax.enable_x64(True), pytest.raises(AssertionError):
        test()

"""Losses and gradients of TRL's online trainers, live, on the same logits."""

from collections import defaultdict
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from policy_toys import NEW, TOKENS, Table, algorithm, rollout_batch, table_of

from jaxreason.objectives.policy_gradient import policy_gradient

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
pytest.importorskip("trl", reason="trl is not installed; install the extra `oracle`")

MASK_OF_COMPLETION = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
CLIPS = {"clip_low": 0.2, "clip_high": 0.2}
KL = {"kl_placement": "loss", "kl_coefficient": 0.3}

# name: (our choices, TRL's)
CASES = {
    "grpo": ({"aggregation": "seq_mean_token_mean"}, {"loss_type": "grpo"}),
    "grpo_with_kl": (
        {"aggregation": "seq_mean_token_mean", **KL},
        {"loss_type": "grpo", "beta": 0.3},
    ),
    "grpo_with_corrected_kl": (
        {"aggregation": "seq_mean_token_mean", **KL, "kl_placement": "loss_is_corrected"},
        {"loss_type": "grpo", "beta": 0.3, "use_bias_correction_kl": True},
    ),
    "bnpo": ({"aggregation": "token_mean_local"}, {"loss_type": "bnpo"}),
    "dr_grpo": ({"aggregation": "seq_sum_over_constant"}, {"loss_type": "dr_grpo"}),
    "dapo": (
        {"aggregation": "token_mean", "clip_high": 0.28, **KL},
        {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.3},
    ),
    "dual_clip": (
        {"aggregation": "token_mean", "dual_clip": 1.3},
        {"loss_type": "dapo", "delta": 1.3},
    ),
    "entropy_bonus": (
        {"aggregation": "token_mean", "entropy_coefficient": 0.2},
        {"loss_type": "dapo", "entropy_coef": 0.2},
    ),
    "cispo": (
        {"surrogate": "cispo", "ratio_cap": 1.1},
        {"loss_type": "cispo", "epsilon_high": 1.1},
    ),
    "gspo": (
        {
            "surrogate": "gspo",
            "aggregation": "seq_mean_token_mean",
            "clip_low": 0.08,
            "clip_high": 0.04,
        },
        {
            "loss_type": "grpo",
            "importance_sampling_level": "sequence",
            "epsilon_low": 0.08,
            "epsilon_high": 0.04,
        },
    ),
}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def trainer_of(kind, logits, temperature, **changes):
    """A trainer with what its loss reads, whose model gives these logits."""

    def scored(model, input_ids, attention_mask, logits_to_keep, **options):
        log_p = torch.log_softmax(logits[:, :-1] / temperature, dim=-1)[:, -logits_to_keep:]
        chosen = log_p.gather(-1, input_ids[:, -logits_to_keep:, None])[..., 0]
        return chosen, -(log_p.exp() * log_p).sum(-1), None

    options = {
        "loss_type": "grpo",
        "importance_sampling_level": "token",
        "epsilon_low": 0.2,
        "epsilon_high": 0.2,
        "beta": 0.0,
        "entropy_coef": 0.0,
        **changes,
    }
    fields = {
        **options,
        "args": SimpleNamespace(
            use_bias_correction_kl=options.get("use_bias_correction_kl", False),
            delta=options.get("delta"),
            steps_per_generation=1,
        ),
        "accelerator": SimpleNamespace(
            num_processes=1,
            gather=lambda x: x,
            gather_for_metrics=lambda x: x,
            reduce=lambda x, reduction: x,
            sync_gradients=True,
        ),
        "_get_per_token_logps_and_entropies": scored,
        "_entropy_bonus_enabled": options["entropy_coef"] > 0,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "aux_loss_enabled": False,
        "current_gradient_accumulation_steps": 1,
        "max_completion_length": 4,
        "model": SimpleNamespace(training=True),
        "off_policy_mask_threshold": None,
        "top_entropy_quantile": 1.0,
        "use_adaptive_entropy": False,
        "use_vllm": False,
    }
    trainer = object.__new__(kind)
    trainer.__dict__.update(fields)
    return trainer


def theirs(kind, temperature, advantages, **changes):
    """Loss and gradient in the logits."""
    table = np.array(table_of(NEW, TOKENS)["logits"])
    logits = torch.tensor(table, dtype=torch.float64, requires_grad=True)
    batch = rollout_batch()
    completion = np.array(MASK_OF_COMPLETION)
    old = np.array(batch["old_log_probabilities"])[:, 1:]
    inputs = {
        "prompt_ids": torch.tensor(TOKENS[:, :1]).long(),
        "prompt_mask": torch.ones(2, 1).long(),
        "completion_ids": torch.tensor(TOKENS[:, 1:]).long(),
        "completion_mask": torch.tensor(completion),
        "advantages": torch.tensor(advantages),
        "old_per_token_logps": torch.tensor(old),
        "old_logps": torch.tensor((old * completion).sum(1)),
        "ref_per_token_logps": torch.tensor(np.array(batch["reference_log_probabilities"])[:, 1:]),
        "num_items_in_batch": torch.tensor(float(completion.sum())),
    }
    trainer = trainer_of(kind, logits, temperature, **changes)
    loss = kind._compute_loss(trainer, trainer.model, inputs)
    loss.backward()
    return loss.item(), logits.grad.numpy()


def ours(temperature, advantages, **changes):
    config = algorithm(**{**CLIPS, **changes})
    objective = policy_gradient(Table(), config, max_tokens=4, temperature=temperature)
    batch = rollout_batch(advantages=jnp.asarray(np.tile(advantages[:, None], (1, 5))))
    params = table_of(NEW, TOKENS)
    (loss, _), gradient = jax.value_and_grad(objective, has_aux=True)(params, batch, None)
    return float(loss), np.asarray(gradient["logits"])


def assert_alike(kind, temperature, advantages, mine, trls):
    signed = np.array(advantages)
    loss, gradient = theirs(kind, temperature, signed, **trls)
    got, slope = ours(temperature, signed, **mine)
    assert got == pytest.approx(loss, abs=1e-9)
    np.testing.assert_allclose(slope, gradient, atol=1e-9)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_losses_equal_those_of_trls_grpo_trainer(name):
    from trl.trainer.grpo_trainer import GRPOTrainer

    for temperature, advantages in ((1.0, (1.0, -0.5)), (0.7, (-2.0, 0.3))):
        assert_alike(GRPOTrainer, temperature, advantages, *CASES[name])


def test_the_loss_equals_that_of_trls_rloo_trainer():
    from trl.trainer.rloo_trainer import RLOOTrainer

    mine = {"surrogate": "sequence_clip", "aggregation": "seq_mean_token_mean"}
    for advantages in ((1.0, -0.5), (-1.0, 0.5)):
        assert_alike(RLOOTrainer, 1.0, advantages, mine, {})

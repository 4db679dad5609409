"""Every preference loss against TRL's own trainers, on the same weights and tokens.

TRL's loss code runs unchanged on a tiny Qwen2; only the surroundings of a trainer (devices, data
loading) are left out.
"""

import importlib.util
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models import Transformer
from jaxreason.models.llama import to_llama
from jaxreason.objectives import anchored, dpo, ipo, kto, orpo, simpo
from jaxreason.weights.families import document_of

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")
transformers = pytest.importorskip("transformers", reason="install the extra `oracle`")
pytest.importorskip("trl", reason="trl is not installed; install the extra `oracle`")

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_qwen2.py"
_spec = importlib.util.spec_from_file_location("generate_qwen2", _SCRIPT)
generate_qwen2 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_qwen2)
CONFIG = generate_qwen2.CONFIGS["untied"]
MODEL = Transformer(CONFIG)
ROWS, LENGTH = 6, 12


@pytest.fixture(scope="module")
def params():
    tree = generate_qwen2.weights(CONFIG)
    # The head at a tenth: less extreme probabilities, so that no loss saturates.
    return jax.tree.map(jnp.asarray, {**tree, "head": tree["head"] / 10})


@pytest.fixture(scope="module")
def network(params):
    """The same model in transformers, with TRL's fused head."""
    from trl.trainer.utils import add_fused_lm_head

    settings = transformers.Qwen2Config(**document_of(CONFIG, "qwen2", {}, "float32"))
    model = transformers.Qwen2ForCausalLM(settings).float().eval()
    weights = to_llama(jax.device_get(params), CONFIG)
    state = {name: torch.tensor(np.ascontiguousarray(x)) for name, x in weights.items()}
    model.load_state_dict(state)
    fields = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    add_fused_lm_head(model, outputs=fields)
    return model


def make_batch(equal_lengths=False):
    random = np.random.default_rng(3)
    shape = (ROWS, 2, LENGTH)
    prompt = np.full((ROWS, 1), 4) if equal_lengths else random.integers(2, 6, (ROWS, 1))
    total = np.full((ROWS, 2), 9) if equal_lengths else prompt + random.integers(2, 7, (ROWS, 2))
    column = np.arange(LENGTH)
    real = column < total[..., None]
    tokens = np.where(real, random.integers(1, CONFIG.vocabulary_size, shape), 0)
    first = np.broadcast_to(tokens[:, :1], shape)
    tokens = np.where(column < prompt[..., None], first, tokens)  # the prompt is shared
    return {
        "tokens": tokens.astype(np.int32),
        "targets_mask": real & (column >= prompt[..., None]),
        "segments": real.astype(np.int32),
        "positions": np.where(real, column, 0).astype(np.int32),
        "reference_log_probabilities": -random.uniform(8, 25, (ROWS, 2)).astype(np.float32),
        "desirable": np.array([True, False, True, True, False, True]),
    }


@pytest.fixture(scope="module")
def batch():
    return make_batch()


def chosen_then_rejected(array):
    """[rows, 2, ...] as TRL lays pairs out: all chosen ones, then all rejected ones."""
    return torch.tensor(np.concatenate([array[:, 0], array[:, 1]]))


ACCELERATOR = SimpleNamespace(
    device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
)
COMMON = {
    "accelerator": ACCELERATOR,
    "model": SimpleNamespace(training=True),
    "aux_loss_enabled": False,
    "_total_train_tokens": 0,
    "_tp_size": 1,
}


def bare(trainer, **attributes):
    """A trainer whose constructor, which needs data sets and files, has not run."""
    made = object.__new__(trainer)
    vars(made).update(COMMON, _metrics=defaultdict(lambda: defaultdict(list)), **attributes)
    return made


def assert_same(objective, params, batch, network, loss, metrics=None):
    """Value, gradient of the embedding and of the head, and metrics."""
    network.zero_grad()
    loss.backward()
    step = jax.jit(jax.value_and_grad(lambda p: objective(p, batch, None), has_aux=True))
    (value, ours), gradient = step(params)
    np.testing.assert_allclose(value, loss.detach().numpy(), rtol=2e-5)
    for theirs, leaf in (
        (network.model.embed_tokens.weight, gradient["embedding"]),
        (network.lm_head.weight, gradient["head"].T),
    ):
        scale = np.abs(leaf).max()
        assert scale > 0
        np.testing.assert_allclose(leaf / scale, theirs.grad.numpy() / scale, atol=2e-4)
    for name, expected in (metrics or {}).items():
        total, count = ours[name]
        np.testing.assert_allclose(total / count, expected, rtol=2e-4, atol=1e-5, err_msg=name)


DPO = {
    "sigmoid": dpo(MODEL, 0.1),
    "sigmoid_norm": dpo(MODEL, 0.1, normalise=True),
    "hinge": dpo(MODEL, 0.1, variant="hinge"),
    "robust": dpo(MODEL, 0.1, variant="robust", label_smoothing=0.2),
    "ipo": ipo(MODEL, 0.1),
    "apo_zero": anchored(MODEL, "apo_zero", 0.1),
    "apo_down": anchored(MODEL, "apo_down", 0.1),
    "sppo_hard": anchored(MODEL, "sppo_hard", 0.1),
    "nca_pair": anchored(MODEL, "nca", 0.1),
}


@pytest.mark.parametrize("loss_type", DPO)
def test_losses_of_the_dpo_trainer(params, batch, network, loss_type):
    from trl.trainer.dpo_trainer import DPOTrainer

    trainer = bare(
        DPOTrainer,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=0.1,
        label_smoothing=0.2,
        use_weighting=False,
    )
    reference = torch.tensor(batch["reference_log_probabilities"])
    inputs = {
        "input_ids": chosen_then_rejected(batch["tokens"]).long(),
        "attention_mask": chosen_then_rejected(batch["segments"]).long(),
        "completion_mask": chosen_then_rejected(batch["targets_mask"].astype(np.int64)),
        "ref_chosen_logps": reference[:, 0],
        "ref_rejected_logps": reference[:, 1],
    }
    loss = trainer._compute_loss(network, inputs, False)
    told = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    metrics = {
        "chosen_log_probability": told["logps/chosen"],
        "rejected_log_probability": told["logps/rejected"],
    }
    if loss_type not in ("ipo", "sigmoid_norm"):  # whose rewards here are averages, as in the loss
        metrics |= {"margin": told["rewards/margins"], "accuracy": told["rewards/accuracies"]}
    assert_same(DPO[loss_type], params, batch, network, loss, metrics)


@pytest.mark.parametrize("shift", [-30.0, 30.0], ids=["clamped", "positive"])
def test_kto(params, batch, network, shift):
    from trl.trainer.kto_trainer import KTOTrainer

    trainer = bare(
        KTOTrainer,
        calculate_KL=True,
        precompute_ref_logps=True,
        loss_type="kto",
        beta=0.1,
        desirable_weight=1.25,
        undesirable_weight=0.75,
    )
    reference = batch["reference_log_probabilities"] - np.array([0, shift], np.float32)
    batch = {**batch, "reference_log_probabilities": reference}

    def half(name, index):
        return torch.tensor(batch[name][:, index].astype(np.int64))

    inputs = {
        "input_ids": half("tokens", 0),
        "attention_mask": half("segments", 0),
        "completion_mask": half("targets_mask", 0),
        "KL_input_ids": half("tokens", 1),
        "KL_attention_mask": half("segments", 1),
        "KL_completion_mask": half("targets_mask", 1),
        "label": torch.tensor(batch["desirable"]),
        "ref_logps": torch.tensor(reference[:, 0]),
        "ref_KL_logps": torch.tensor(reference[:, 1]),
    }
    loss = trainer._compute_loss(network, inputs, False)
    told = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    assert (told["kl"] > 0) == (shift > 0)
    metrics = {
        "baseline": told["kl"],
        "desirable_reward": told["rewards/chosen"],
        "undesirable_reward": told["rewards/rejected"],
    }
    objective = kto(MODEL, 0.1, desirable_weight=1.25, undesirable_weight=0.75)
    assert_same(objective, params, batch, network, loss, metrics)


def separate(batch):
    """Pairs as the older trainers take them: labels -100 outside the completion."""
    made = {}
    for index, side in enumerate(("chosen", "rejected")):
        tokens = batch["tokens"][:, index].astype(np.int64)
        labels = np.where(batch["targets_mask"][:, index], tokens, -100)
        made[f"{side}_input_ids"] = torch.tensor(tokens)
        made[f"{side}_attention_mask"] = torch.tensor(batch["segments"][:, index]).long()
        made[f"{side}_labels"] = torch.tensor(labels)
    return made


def test_simpo(params, batch, network):
    from trl.experimental.cpo.cpo_trainer import CPOTrainer

    trainer = bare(
        CPOTrainer,
        is_encoder_decoder=False,
        pad_token_id=0,
        cpo_alpha=0.0,
        loss_type="simpo",
        alpha=0.0,
        beta=2.0,
        simpo_gamma=0.7,
        label_smoothing=0.0,
    )
    loss, told = trainer.get_batch_loss_metrics(network, separate(batch))
    metrics = {"margin": told["rewards/margins"], "accuracy": told["rewards/accuracies"]}
    assert_same(simpo(MODEL, 2.0, 0.7), params, batch, network, loss, metrics)


def test_orpo(params, network):
    """Of equal lengths: TRL's likelihood is a mean over all tokens, ours over pairs."""
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    batch = make_batch(equal_lengths=True)
    trainer = bare(ORPOTrainer, is_encoder_decoder=False, padding_value=0, beta=0.3)
    loss, told = trainer.get_batch_loss_metrics(network, separate(batch))
    metrics = {"margin": told["rewards/margins"], "accuracy": told["rewards/accuracies"]}
    objective = orpo(MODEL, 0.3, likelihood_of="sequence")
    assert_same(objective, params, batch, network, loss, metrics)


def test_the_odds_of_orpo_at_any_lengths(params, batch, network):
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

    trainer = bare(ORPOTrainer, is_encoder_decoder=False, padding_value=0, beta=0.3)
    chosen, rejected, *_ = trainer.concatenated_forward(network, separate(batch))
    negative, *_ = trainer.odds_ratio_loss(chosen, rejected)

    def odds_only(params, batch, key):
        whole, metrics = orpo(MODEL, 0.3)(params, batch, key)
        likelihood, _ = orpo(MODEL, 1e-30)(params, batch, key)
        return whole - likelihood, metrics

    assert_same(odds_only, params, batch, network, -negative.mean())

"""LLaDA written once more, in PyTorch and float64: logits and gradients of every weight."""

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models import AttentionSpec, Transformer
from jaxreason.models.llada import to_llada

pytestmark = pytest.mark.oracle
torch = pytest.importorskip("torch", reason="torch is not installed; install the extra `oracle`")

TOKENS = np.asarray([golden_llada.TOKENS, golden_llada.TOKENS[::-1]])
KEYS = np.asarray([[False] * 3 + [True] * 9, [True] * 7 + [False, True, False, True, True]])


def norm(x, scale):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * scale


def turn(x):
    """Rotary embedding of [B, H, T, K] at places 0..T-1, pairs half a head apart."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2]).double()[:, None] * 5e5 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def block(x, weight, bias, heads):
    y = norm(x, weight("attn_norm"))
    query, key, value = (
        (y @ weight(f"{name}_proj").T).unflatten(-1, (heads, -1)).transpose(1, 2) for name in "qkv"
    )
    query, key = turn(query), turn(key)
    scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias[:, None]
    attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    x = x + attended @ weight("attn_out").T
    y = norm(x, weight("ff_norm"))
    gated = torch.nn.functional.silu(y @ weight("ff_proj").T) * (y @ weight("up_proj").T)
    return x + gated @ weight("ff_out").T


def reference(weights, config, mode):
    root, keys = "model.transformer.", torch.tensor(KEYS)
    pairs = keys[:, :, None] & keys[:, None, :]
    bias = {
        "full": torch.zeros(pairs.shape).double(),
        "bool": torch.zeros(pairs.shape).double().masked_fill(~keys[:, None, :], -1e300),
        "legacy_float": pairs.double(),
    }[mode]
    x = weights[f"{root}wte.weight"][torch.tensor(TOKENS)]
    for i in range(config.layers):
        x = block(x, lambda n, i=i: weights[f"{root}blocks.{i}.{n}.weight"], bias, config.heads)
    return norm(x, weights[f"{root}ln_f.weight"]) @ weights[f"{root}ff_out.weight"].T


@pytest.mark.parametrize("mode", ["full", "bool", "legacy_float"])
def test_logits_and_gradients_are_those_of_pytorch(mode):
    config = golden_llada.golden_config()
    theirs = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in golden_llada.golden_weights(config).items()
    }
    real = torch.tensor(KEYS if mode == "bool" else np.ones_like(KEYS))
    expected = reference(theirs, config, mode)
    (expected * real[..., None]).sin().sum().backward()

    model = Transformer(config)
    spec = AttentionSpec("bidirectional", keys=jnp.asarray(KEYS), mask_mode=mode)

    def total(params):
        logits = model.unembed(params, model.apply(params, jnp.asarray(TOKENS), None, spec)[0])
        return jnp.sin(jnp.where(jnp.asarray(real.numpy())[..., None], logits, 0)).sum(), logits

    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, logits), gradients = run(golden_llada.golden_params(config))
    shown = real.numpy()
    np.testing.assert_allclose(logits[shown], expected.detach().numpy()[shown], atol=1e-4)
    for name, gradient in to_llada(gradients, config).items():
        ours, wanted = gradient, theirs[name].grad.numpy()
        np.testing.assert_allclose(ours, wanted, atol=2e-4 * np.abs(wanted).max(), err_msg=name)

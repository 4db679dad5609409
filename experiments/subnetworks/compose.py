"""Freeze, shrink and watch single weights in a plain optax and flax script.

Command: `python experiments/subnetworks/compose.py`
Of this package only `jaxreason.masks` is used: a small flax network learns a function of 16 numbers
while 5 % of its weights may change. Shows that the other weights keep every bit under AdamW with
weight decay, that `compact` gives the same weights with a fraction of the optimizer state, and how
sparse an update looks when the same float32 weights are read in float32 and in bfloat16.
Hardware: any; seconds on a CPU, most of them compilation.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxreason import masks

STEPS = 100


network = nn.Sequential([nn.Dense(128), nn.tanh, nn.Dense(128), nn.tanh, nn.Dense(1)])


@jax.jit
def loss_and_gradients(params, x, y):
    def loss_of(params):
        predicted: Any = network.apply({"params": params}, x)
        return jnp.mean((predicted[:, 0] - y) ** 2)

    return jax.value_and_grad(loss_of)(params)


def train(optimizer, params, x, y):
    """(parameters, optimizer state, losses) after `STEPS` updates."""
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    losses = []
    for _ in range(STEPS):
        loss, gradients = loss_and_gradients(params, x, y)
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(loss))
    return params, state, losses


def size_of(state):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def main():
    x = jax.random.normal(jax.random.key(0), (256, 16))
    y = jnp.sin(x[:, 0]) * x[:, 1]
    params = network.init(jax.random.key(1), x)["params"]
    mask = masks.random_mask(jax.random.key(2), params, 0.05)
    print(masks.density(mask), end="\n\n")

    adamw = optax.adamw(1e-2, weight_decay=0.1)
    trained, state, losses = train(masks.freeze_outside(adamw, mask), params, x, y)
    leaked = masks.density(
        masks.intersection(masks.difference(params, trained), masks.complement(mask))
    ).active
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; frozen weights that changed a bit: {leaked}")

    same, small_state, _ = train(masks.compact(adamw, mask), params, x, y)
    differing = masks.density(masks.difference(trained, same, allow_empty=True)).active
    print(f"optimizer state: {size_of(state):,} bytes, compact {size_of(small_state):,} bytes")
    print(f"weights that compact trained differently: {differing}")

    for dtype in ("float32", "bfloat16"):
        optimizer = optax.chain(optax.adamw(1e-6), masks.track_updates(dtype))
        _, state, _ = train(optimizer, params, x, y)
        last, ever = state[-1].sparsity, 1 - masks.density(masks.tracked(state, params)).share
        print(f"read in {dtype}: unchanged by the last step {last:.1%}, by any step {ever:.1%}")


if __name__ == "__main__":
    main()

"""Freeze, shrink and watch single weights in a plain optax and flax script.

Command: `python experiments/subnetworks/compose.py`
Of this package only `jaxreason.masks` is used: a small flax network learns a function of 16 numbers
while 5 % of its weights may change. Shows that the other weights keep every bit under AdamW with
weight decay, that `compact` gives the same weights with a fraction of the optimizer state, and how
sparse an update looks when the same float32 weights are read in float32 and in bfloat16.
Hardware: any; a few seconds on one CPU core.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxreason.masks import (
    compact,
    complement,
    density,
    difference,
    freeze_outside,
    intersection,
    random_mask,
    track_updates,
    tracked,
)

STEPS = 100


class Network(nn.Module):
    """Two hidden layers of 128."""

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.tanh(nn.Dense(128)(x))
        return nn.Dense(1)(x)[:, 0]


def train(optimizer, params, x, y):
    """(parameters, optimizer state, losses) after `STEPS` updates."""

    def loss_of(params):
        return jnp.mean((Network().apply({"params": params}, x) - y) ** 2)

    def step(carry, _):
        params, state = carry
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), loss

    start = params, optimizer.init(params)
    (params, state), losses = jax.jit(lambda carry: jax.lax.scan(step, carry, length=STEPS))(start)
    return params, state, losses


def size_of(state):
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def main():
    x = jax.random.normal(jax.random.key(0), (256, 16))
    y = jnp.sin(x[:, 0]) * x[:, 1]
    params = Network().init(jax.random.key(1), x)["params"]
    mask = random_mask(jax.random.key(2), params, 0.05)
    print(density(mask), end="\n\n")

    adamw = optax.adamw(1e-2, weight_decay=0.1)
    trained, state, losses = train(freeze_outside(adamw, mask), params, x, y)
    leaked = density(intersection(difference(params, trained), complement(mask))).active
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; frozen weights that changed a bit: {leaked}")

    same, small_state, _ = train(compact(adamw, mask), params, x, y)
    differing = density(difference(trained, same, allow_empty=True)).active
    print(f"optimizer state: {size_of(state):,} bytes, compact {size_of(small_state):,} bytes")
    print(f"weights that compact trained differently: {differing}")

    for dtype in ("float32", "bfloat16"):
        optimizer = optax.chain(optax.adamw(1e-4), track_updates(dtype))
        _, state, _ = train(optimizer, params, x, y)
        last, ever = state[-1].sparsity, 1 - density(tracked(state, params)).share
        print(f"read in {dtype}: unchanged by the last step {last:.1%}, by any step {ever:.1%}")


if __name__ == "__main__":
    main()

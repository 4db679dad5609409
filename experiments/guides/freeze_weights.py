"""Guide: freeze, shrink and watch single weights in your own optax and flax script.

    python experiments/guides/freeze_weights.py

Of this package only `jaxreason.masks` is used: a small flax network learns a function of 16 numbers
while 5 % of its weights may change. Seconds on a CPU, most of them compilation. To put it into
your project: keep your optimizer, wrap it as in `main`, and leave your training step as it is.
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
    # A mask is a tree like the parameters, True where a weight may change: at random here, or from
    # `magnitude`, `gradient_mask`, `difference(before, after)`, `by_layer`, a file (`load_mask`).
    mask = masks.random_mask(jax.random.key(2), params, 0.05)
    print(masks.density(mask), end="\n\n")

    # `freeze_outside` masks what the optimizer says, weight decay and momentum included, so the
    # other weights keep every bit.
    adamw = optax.adamw(1e-2, weight_decay=0.1)
    trained, state, losses = train(masks.freeze_outside(adamw, mask), params, x, y)
    leaked = masks.density(
        masks.intersection(masks.difference(params, trained), masks.complement(mask))
    ).active
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; frozen weights that changed a bit: {leaked}")

    # `compact` gives the same weights with optimizer state for the active ones alone.
    same, small_state, _ = train(masks.compact(adamw, mask), params, x, y)
    differing = masks.density(masks.difference(trained, same, allow_empty=True)).active
    print(f"optimizer state: {size_of(state):,} bytes, compact {size_of(small_state):,} bytes")
    print(f"weights that compact trained differently: {differing}")

    # The same float32 update looks sparse when it is read in bfloat16: small steps round away.
    for dtype in ("float32", "bfloat16"):
        optimizer = optax.chain(optax.adamw(1e-6), masks.track_updates(dtype))
        _, state, _ = train(optimizer, params, x, y)
        last, ever = state[-1].sparsity, 1 - masks.density(masks.tracked(state, params)).share
        print(f"read in {dtype}: unchanged by the last step {last:.1%}, by any step {ever:.1%}")


if __name__ == "__main__":
    main()

"""A model, a stream and a run small enough to be killed and restarted many times.

Run as a script it is the command that the resume tests kill: `training_toy.py RUN [KILL]`.
"""

import glob
import os
import signal
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.loop import TrainConfig, train
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preemption import Preempted

VOCABULARY, WIDTH, HIDDEN = 16, 8, 16


def init(key):
    """Parameters with the transformer's paths, so that its partition rules apply."""
    keys = jax.random.split(key, 4)
    return {
        "embedding": jax.random.normal(keys[0], (VOCABULARY, WIDTH)),
        "layers": {
            "up": 0.3 * jax.random.normal(keys[1], (2, WIDTH, HIDDEN)),
            "down": 0.3 * jax.random.normal(keys[2], (2, HIDDEN, WIDTH)),
        },
        "final_norm": jnp.ones(WIDTH),
        "head": 0.3 * jax.random.normal(keys[3], (WIDTH, VOCABULARY)),
    }


def objective(params, batch, key, noise=0.1):
    """Next-token loss with noise from the step's key, so that keys must resume too."""
    x = params["embedding"][batch["tokens"]]
    for layer in range(2):
        x = x + jax.nn.relu(x @ params["layers"]["up"][layer]) @ params["layers"]["down"][layer]
    x = x * params["final_norm"] + noise * jax.random.normal(key, x.shape)
    logs = jax.nn.log_softmax(x @ params["head"])
    targets = jnp.roll(batch["tokens"], -1, axis=1)
    losses = -jnp.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    weights = batch["targets_mask"].astype(jnp.float32)
    total, count = (losses * weights).sum(), weights.sum()
    return total / jnp.maximum(count, 1), {"loss": (total, count)}


def quiet(params, batch, key):
    """The objective without noise."""
    return objective(params, batch, key, noise=0.0)


def make_batch(index, rows=8, length=None):
    """Batch number `index`; every third one is longer, as length buckets make them."""
    random = np.random.default_rng(index)
    shape = (rows, length or (9 if index % 3 == 0 else 6))
    tokens = random.integers(0, VOCABULARY, shape).astype(np.int32)
    return {"tokens": tokens, "targets_mask": random.random(shape) < 0.6}


class Stream:
    """An endless stream with the state of a Grain iterator; `hook(index)` runs before a batch."""

    def __init__(self, hook=None, make=make_batch):
        self.index, self.hook, self.make = 0, hook, make

    def __iter__(self):
        return Stream(self.hook, self.make)

    def __next__(self):
        if self.hook is not None:
            self.hook(self.index)
        self.index += 1
        return self.make(self.index - 1)

    def get_state(self):
        return {"index": self.index}

    def set_state(self, state):
        self.index = state["index"]


OPTIMIZER = OptimizerConfig(learning_rate=1e-2, warmup_steps=3, total_steps=30)


def run(directory, *, hook=None, mesh=None, make=make_batch, optimizer=OPTIMIZER, **fields):
    """Train the toy; `fields` are those of TrainConfig."""
    fields = {"steps": 13, "save_every": 4, "log_every": 3, **fields}
    return train(
        directory,
        objective=objective,
        model_init=init,
        optimizer_config=optimizer,
        train_config=TrainConfig(**fields),
        batches=Stream(hook, make),
        mesh=mesh,
        progress=False,
    )


def toy_mesh(fsdp, tensor):
    """A mesh over the first fsdp x tensor fake devices."""
    config = MeshConfig(fsdp=fsdp, tensor=tensor)
    return make_mesh(config, jax.devices()[: fsdp * tensor])


def killer(directory, kill):
    """A hook that ends this process as a crash would: at a batch, or while a save is written."""

    def hook(index):
        if kill == "save":
            if glob.glob(f"{directory}/checkpoints/12.*tmp*"):
                os.kill(os.getpid(), signal.SIGKILL)
        elif kill == "slow":
            time.sleep(0.05)
        elif index == int(kill):
            while glob.glob(f"{directory}/checkpoints/*tmp*"):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


if __name__ == "__main__":
    _, where, *rest = sys.argv
    try:
        run(where, hook=killer(where, rest[0]) if rest else None)
    except Preempted as preempted:
        print(preempted)
        sys.exit(preempted.exit_code)

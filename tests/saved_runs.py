"""Run directories as training leaves them after its first save, without training."""

import jax
import jax.numpy as jnp

from jaxreason.training.checkpoint import Checkpoints
from jaxreason.training.files import settle_config
from jaxreason.training.state import TrainState


def save_run(run_directory, config, params):
    """A new run directory with this config.json and these parameters as step 0."""
    settle_config(run_directory, config, begun=False)
    zeros = [jnp.zeros((), jnp.int32) for _ in range(3)]
    state = TrainState(zeros[0], params, (), jax.random.key(0), zeros[1], zeros[2])
    checkpoints = Checkpoints(run_directory)
    checkpoints.save(state, {}, None)
    checkpoints.close()

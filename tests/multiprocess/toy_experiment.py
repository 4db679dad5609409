"""An experiment file for `jaxreason train`: the toy model on all devices, with a fault if asked.

The fault happens once, at a batch of one process; a second start of the run finds its mark.
"""

import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import training_toy as toy

from jaxreason.errors import FailureError, InputError
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.placement import data_share
from jaxreason.training.loop import TrainConfig, train

ERRORS = {"input": InputError, "failure": FailureError, "bug": ValueError}


@dataclass(frozen=True)
class Fault:
    """What (kill, stuck, sigterm, input, failure, bug or nan) happens to whom, and when."""

    kind: str = ""
    process: int = 1
    batch: int = 6


@dataclass(frozen=True)
class ToyExperiment:
    """The toy of tests/training on a mesh over all devices; batches are global."""

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=13, save_every=4, log_every=3)
    )
    fault: Fault = field(default_factory=Fault)
    pause: float = 0.0

    def as_json(self):
        return {"train": asdict(self.train)}

    def run(self, directory):
        mesh = make_mesh(MeshConfig())
        share = data_share(mesh)

        def make(index):
            if self.fault.kind == "nan" and index >= self.fault.batch:
                # Not a number only in the rows of one process.
                batch = toy.make_batch(index)
                bad = jax.process_index() == self.fault.process
                batch["weight"] = np.full(8, np.nan if bad else 1.0, np.float32)
            else:
                batch = toy.make_batch(index) | {"weight": np.ones(8, np.float32)}
            return {name: rows[share.rows(8)] for name, rows in batch.items()}

        return train(
            directory,
            objective=objective,
            model_init=toy.init,
            optimizer_config=toy.OPTIMIZER,
            train_config=self.train,
            batches=toy.Stream(self.hook(directory), make),
            mesh=mesh,
            config_json=self.as_json(),
            progress=False,
        )

    def hook(self, directory):
        def strike(index):
            time.sleep(self.pause)
            fault, mark = self.fault, Path(directory) / "struck"
            mine = jax.process_index() == fault.process and index == fault.batch
            if not mine or fault.kind in ("", "nan") or mark.exists():
                return
            mark.touch()
            if fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            elif fault.kind == "stuck":
                time.sleep(1000)
            else:
                raise ERRORS[fault.kind](f"the {fault.kind} of batch {index}")

        return strike


def objective(params, batch, key):
    loss, metrics = toy.quiet(params, batch, key)
    scale = batch["weight"].mean()
    return loss * scale, {"loss": (metrics["loss"][0] * scale, metrics["loss"][1])}


experiment = ToyExperiment()

"""The training loop: one story for every objective, from a run directory to a result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.program import Evaluate, Program, TrainConfig, TrainResult, run_program
from jaxreason.training.state import abstract_state, init_state, state_from_params
from jaxreason.training.step import make_step
from jaxreason.types import Objective, Params

__all__ = ["Evaluate", "TrainConfig", "TrainResult", "train"]


def train(
    run_directory: str | Path,
    *,
    objective: Objective,
    optimizer_config: OptimizerConfig,
    train_config: TrainConfig,
    batches: Any,
    model_init: Callable[[jax.Array], Params] | None = None,
    initial_params: Params | None = None,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
    evaluate_fn: Evaluate | None = None,
    config_json: Mapping[str, Any] | None = None,
    optimizer: Any = None,
    flops_per_token: float | None = None,
    evaluate_at_start: bool = False,
    progress: bool = True,
) -> TrainResult:
    """Train to the last step, resuming from what is in the run directory.

    Calling it again with the same arguments after any interruption ends with the same parameters,
    bit for bit, as if nothing had happened (on the same kind and number of devices).

    Args:
        run_directory: made if absent; gets config.json, metrics.jsonl, checkpoints/, summary.json.
        objective: what to minimise.
        optimizer_config: AdamW and its schedule.
        train_config: lengths and intervals.
        batches: iterable of dicts of numpy arrays whose iterator has `get_state` (plain JSON) and
            `set_state`, such as a `grain.IterDataset`; with several processes, this one's rows.
        model_init: key to parameters, for a model trained from scratch.
        initial_params: parameters to start from instead; they are copied.
        mesh: devices to split over; None for one device.
        rules: where each leaf lives on the mesh.
        evaluate_fn: `(params, step) -> numbers by name`, called at `evaluate_every`.
        config_json: what config.json should hold; by default the two configs.
        optimizer: any optax transformation used in place of the one `optimizer_config` describes.
        flops_per_token: see `training.flops`; gives MFU on devices whose peak is known.
        evaluate_at_start: evaluate before the first step too, if at all.
        progress: show progress on standard error.

    Raises:
        InputError: the run directory holds a run with another config or model, or the batches do
            not fit the mesh.
        FailureError: the loss stays non-finite, the disk is full, all checkpoints are damaged, or
            another process trains in the run directory.
        Preempted: SIGTERM came; a checkpoint was saved (exit code 42).
    """
    if (model_init is None) == (initial_params is None):
        raise InputError("train needs either model_init or initial_params, and not both")
    optimizer = make_optimizer(optimizer_config) if optimizer is None else optimizer
    key = jax.random.key(train_config.seed)
    step = make_step(objective, optimizer, mesh, rules, train_config.accumulation)
    if initial_params is None:
        assert model_init is not None
        init = model_init
        program = Program(
            step,
            lambda: abstract_state(init, optimizer, mesh, rules),
            lambda: init_state(init, optimizer, key, mesh, rules),
        )
    else:
        program = Program(
            step,
            lambda: abstract_state(lambda _: initial_params, optimizer, mesh, rules),
            lambda: state_from_params(initial_params, optimizer, key, mesh, rules),
        )
    default_json = {"optimizer": asdict(optimizer_config), "train": asdict(train_config)}
    return run_program(
        run_directory,
        program,
        optimizer_config=optimizer_config,
        train_config=train_config,
        batches=batches,
        config_json=default_json if config_json is None else config_json,
        evaluate_fn=evaluate_fn,
        evaluate_at_start=evaluate_at_start,
        flops_per_token=flops_per_token,
        # Programs in flight at once can starve the CPU's collectives of threads.
        wait=mesh is not None and mesh.devices.flat[0].platform == "cpu",
        progress=progress,
    )

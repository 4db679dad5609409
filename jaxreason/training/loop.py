"""The training loop: one story for every objective, from a run directory to a result."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.clock import Clock
from jaxreason.training.files import claim, settle_config
from jaxreason.training.metrics import MetricsFile
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.preemption import Preempted, termination
from jaxreason.training.progress import Progress
from jaxreason.training.recorder import Recorder
from jaxreason.training.state import TrainState, abstract_state, init_state
from jaxreason.training.step import make_step
from jaxreason.types import Objective, Params


@dataclass(frozen=True)
class TrainConfig:
    """How long, how often, and what to keep.

    Attributes:
        steps: optimizer steps; may be raised later to train on (the schedule's length is
            `OptimizerConfig.total_steps`).
        accumulation: micro-batches per step.
        seed: of the parameters and of the objective's randomness.
        log_every: steps per row of metrics.jsonl.
        evaluate_every: steps between evaluations (and one at the end); 0 for none at all.
        save_every: steps between checkpoints (and one at the end); 0 for the one at the end only.
        keep_last: newest checkpoints kept.
        keep_every: checkpoints at multiples of this step are kept for good; 0 for none.
        max_consecutive_skipped: non-finite steps in a row after which the run fails.
        tensorboard: also write TensorBoard event files.
    """

    steps: int = 1000
    accumulation: int = 1
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 0
    save_every: int = 0
    keep_last: int = 2
    keep_every: int = 0
    max_consecutive_skipped: int = 10
    tensorboard: bool = False

    def __post_init__(self) -> None:
        least = {"evaluate_every": 0, "save_every": 0, "keep_every": 0, "seed": 0}
        for name, value in asdict(self).items():
            if value < least.get(name, 1) and name != "tensorboard":
                raise InputError(
                    f"train.{name} is {value}; it must be at least {least.get(name, 1)}"
                )


class TrainResult(NamedTuple):
    """A run that reached its last step.

    Attributes:
        state: the final state, on its devices.
        last_row: the last training row of metrics.jsonl written by this process, if any.
        seconds: wall time of this process by part, and `wall`, their sum.
    """

    state: TrainState
    last_row: Mapping[str, Any] | None
    seconds: Mapping[str, float]


Evaluate = Callable[[Params, int], Mapping[str, float]]


def train(
    run_directory: str | Path,
    *,
    objective: Objective,
    model_init: Callable[[jax.Array], Params],
    optimizer_config: OptimizerConfig,
    train_config: TrainConfig,
    batches: Any,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
    evaluate_fn: Evaluate | None = None,
    config_json: Mapping[str, Any] | None = None,
    optimizer: Any = None,
    flops_per_token: float | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train to the last step, resuming from what is in the run directory.

    Calling it again with the same arguments after any interruption ends with the same parameters,
    bit for bit, as if nothing had happened (on the same kind and number of devices).

    Args:
        run_directory: made if absent; gets config.json, metrics.jsonl, checkpoints/, summary.json.
        objective: what to minimise.
        model_init: key to parameters.
        optimizer_config: AdamW and its schedule.
        train_config: lengths and intervals.
        batches: iterable of dicts of numpy arrays whose iterator has `get_state` (plain JSON) and
            `set_state`, such as a `grain.IterDataset`; with several processes, this one's rows.
        mesh: devices to split over; None for one device.
        rules: where each leaf lives on the mesh.
        evaluate_fn: `(params, step) -> numbers by name`, called at `evaluate_every`.
        config_json: what config.json should hold; by default the two configs.
        optimizer: any optax transformation used in place of the one `optimizer_config` describes.
        flops_per_token: see `training.flops`; gives MFU on devices whose peak is known.
        progress: show progress on standard error.

    Raises:
        InputError: the run directory holds a run with another config or model, or the batches do
            not fit the mesh.
        FailureError: the loss stays non-finite, the disk is full, all checkpoints are damaged, or
            another process trains in the run directory.
        Preempted: SIGTERM came; a checkpoint was saved (exit code 42).
    """
    run = Path(run_directory)
    config = train_config
    default_json = {"optimizer": asdict(optimizer_config), "train": asdict(config)}
    clock = Clock()
    first = jax.process_index() == 0
    with claim(run) if first else nullcontext(), termination() as asked:
        begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
        stored = default_json if config_json is None else config_json
        settle_config(run, stored, begun=begun, write=first)
        optimizer = make_optimizer(optimizer_config) if optimizer is None else optimizer
        step_fn = make_step(objective, optimizer, mesh, rules, config.accumulation)
        display = Progress(config.steps, enabled=progress and first)
        checkpoints = Checkpoints(run, config.keep_last, config.keep_every, warn=display.note)
        try:
            with clock.measure("checkpoint"):
                restored = checkpoints.restore(abstract_state(model_init, optimizer, mesh, rules))
            iterator = iter(batches)
            if restored is None:
                with clock.measure("compile"):
                    key = jax.random.key(config.seed)
                    state = init_state(model_init, optimizer, key, mesh, rules)
                extra: Mapping[str, Any] = {"step": 0, "sums": None}
            else:
                state, extra = restored
                iterator.set_state(extra["data"])
                display.note(f"resumed from the checkpoint of step {extra['step']}")
            step = saved_step = int(extra["step"])
            recorder = Recorder(
                MetricsFile(run, step, config.tensorboard, write=first),
                display,
                clock,
                config,
                optimizer_config,
                step=step,
                sums=extra["sums"],
                skipped=int(state.skipped),
                flops_per_token=flops_per_token,
                # Programs in flight at once can starve the CPU's collectives of threads.
                wait=mesh is not None and mesh.devices.flat[0].platform == "cpu",
            )

            def save() -> None:
                nonlocal saved_step
                recorder.flush()
                if saved_step != step:
                    with clock.measure("checkpoint"):
                        checkpoints.save(state, recorder.as_json(), iterator.get_state())
                    saved_step = step

            def save_and_wait() -> None:
                save()
                with clock.measure("checkpoint"):
                    checkpoints.wait()

            def due(every: int) -> bool:
                return every > 0 and (step % every == 0 or step == config.steps)

            while step < config.steps:
                if asked.requested(step):
                    save_and_wait()
                    kept = f"after step {step}; a checkpoint was saved" if step else "at step 0"
                    raise Preempted(f"stopped by SIGTERM {kept}")
                with clock.measure("data"):
                    batch = next(iterator, None)
                if batch is None:
                    save_and_wait()
                    raise InputError(
                        f"the data ended after {step} steps, which are saved; train fewer steps "
                        "or allow more epochs of data"
                    )
                with clock.measure("step" if step_fn.is_compiled(batch) else "compile"):
                    state, metrics = step_fn(state, batch)
                step += 1
                with clock.measure("step"):
                    recorder.push(metrics, _token_count(batch))

                if evaluate_fn is not None and due(config.evaluate_every):
                    recorder.flush()
                    with clock.measure("evaluation"):
                        numbers = evaluate_fn(state.params, step)
                    recorder.evaluation(numbers)
                # A run in trouble keeps the checkpoints from before the trouble.
                if due(config.save_every) and recorder.flush() == 0:
                    save()

            save_and_wait()
            return TrainResult(state, recorder.last_row, recorder.finish(run))
        finally:
            display.close()
            checkpoints.close()


def _token_count(batch: Mapping[str, Any]) -> int:
    """Tokens in a batch, padding left out where `segments` says what is padding."""
    if "segments" in batch:
        count = int(np.count_nonzero(batch["segments"]))
    else:
        count = batch["tokens"].size if "tokens" in batch else len(next(iter(batch.values())))
    return count * jax.process_count()

"""Repeating a step in a run directory: resume, rows of metrics, evaluations, checkpoints."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxreason.errors import InputError
from jaxreason.paths import as_path
from jaxreason.sharding.placement import agree
from jaxreason.sharding.together import same_on_all, tell_others
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.clock import Clock
from jaxreason.training.files import claim, settle_config
from jaxreason.training.metrics import MetricsFile
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preemption import Preempted, Termination, termination
from jaxreason.training.progress import Progress
from jaxreason.training.recorder import Recorder
from jaxreason.training.state import TrainState
from jaxreason.training.watchdog import Watchdog, watching
from jaxreason.types import Metrics, Params


@dataclass(frozen=True)
class TrainConfig:
    """How long, how often, and what to keep.

    Attributes:
        steps: optimizer steps (for RL: rollouts, each with its inner updates); may be raised later
            to train on (the schedule's length is `OptimizerConfig.total_steps`).
        accumulation: micro-batches per step.
        seed: of the parameters and of the objective's randomness.
        log_every: steps per row of metrics.jsonl.
        evaluate_every: steps between evaluations (and one at the end); 0 for none at all.
        save_every: steps between checkpoints (and one at the end); 0 for the one at the end only.
        keep_last: newest checkpoints kept.
        keep_every: checkpoints at multiples of this step are kept for good; 0 for none.
        max_consecutive_skipped: non-finite steps in a row after which the run fails.
        tensorboard: also write TensorBoard event files.
        step_timeout: seconds without a finished step after which a process dumps its stacks into
            `stacks/` and ends with exit code 43, to be started again; six times as many if there
            was an evaluation, a checkpoint or something to compile. 0 for never; by default 600
            with several processes and 0 with one.
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
    step_timeout: float | None = None

    def __post_init__(self) -> None:
        least = {"evaluate_every": 0, "save_every": 0, "keep_every": 0, "seed": 0}
        least["step_timeout"] = 0
        for name, value in asdict(self).items():
            if name != "tensorboard" and value is not None and value < least.get(name, 1):
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


class StepFunction(Protocol):
    """What the loop calls once per batch; the state given must not be used again."""

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """The next state, its `step` one higher, and metrics with `skipped`.

        A metric `tokens` (sum) stands for the number of tokens where the batch cannot tell.
        """

    def is_compiled(self, batch: Any) -> bool:
        """Whether a call with this batch would compile nothing."""


class Program(NamedTuple):
    """What a run repeats and what it starts from.

    Attributes:
        step: called once per batch.
        abstract: shapes, dtypes and shardings of the state.
        initial: a fresh state.
    """

    step: StepFunction
    abstract: Callable[[], TrainState]
    initial: Callable[[], TrainState]


def run_program(
    run_directory: str | Path,
    program: Program,
    *,
    optimizer_config: OptimizerConfig,
    train_config: TrainConfig,
    batches: Any,
    config_json: Mapping[str, Any],
    evaluate_fn: Evaluate | None = None,
    flops_per_token: float | None = None,
    wait: bool = False,
    clock: Clock | None = None,
    updates_per_step: int = 1,
    evaluate_at_start: bool = False,
    progress: bool = True,
) -> TrainResult:
    """Repeat the program's step to the last one, resuming from what is in the run directory.

    Args:
        run_directory: see `train`, as for the arguments and errors not named here.
        program: what to repeat and where to start.
        optimizer_config: gives the learning rate of a row.
        train_config: lengths and intervals.
        batches: what the step is called with.
        config_json: what config.json should hold.
        evaluate_fn: see `train`.
        flops_per_token: see `train`.
        wait: fetch the metrics of every step at once.
        clock: where the step itself measures its phases.
        updates_per_step: optimizer updates in each step.
        evaluate_at_start: evaluate before the first step too, if at all.
        progress: show progress on standard error.
    """
    run = as_path(run_directory)
    clock = Clock() if clock is None else clock
    first = jax.process_index() == 0
    timeout = train_config.step_timeout
    with (
        watching(timeout, run, clock) as watchdog,
        claim(run) if first else nullcontext(),
        termination() as asked,
    ):
        same_on_all(config_json)
        if first:
            begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
            settle_config(run, config_json, begun=begun)
        agree("the run directory is ready")
        display = Progress(train_config.steps, enabled=progress and first)
        keep = train_config.keep_last, train_config.keep_every
        checkpoints = Checkpoints(run, *keep, warn=display.note)
        try:
            with clock.measure("checkpoint"):
                restored = checkpoints.restore(program.abstract())
            iterator = iter(batches)
            if restored is None:
                with clock.measure("compile"):
                    state = program.initial()
                extra: Mapping[str, Any] = {"step": 0, "sums": None}
            else:
                state, extra = restored
                iterator.set_state(extra["data"])
                display.note(f"resumed from the checkpoint of step {extra['step']}")
            recorder = Recorder(
                MetricsFile(run, int(extra["step"]), train_config.tensorboard, write=first),
                display,
                clock,
                train_config,
                optimizer_config,
                step=int(extra["step"]),
                sums=extra["sums"],
                skipped=int(state.skipped),
                flops_per_token=flops_per_token,
                wait=wait,
                updates_per_step=updates_per_step,
            )
            loop = _Loop(
                program.step,
                train_config,
                iterator,
                clock,
                recorder,
                checkpoints,
                asked,
                watchdog,
            )
            if evaluate_at_start and restored is None and train_config.evaluate_every:
                loop.evaluate(evaluate_fn, state.params, 0)
            state = loop.run(state, int(extra["step"]), evaluate_fn)
            return TrainResult(state, recorder.last_row, recorder.finish(run))
        except BaseException as error:
            tell_others(error)
            raise
        finally:
            display.close()
            checkpoints.close()


@dataclass
class _Loop:
    """The steps between a restored state and the last one."""

    step_fn: StepFunction
    config: TrainConfig
    iterator: Any
    clock: Clock
    recorder: Recorder
    checkpoints: Checkpoints
    asked: Termination
    watchdog: Watchdog
    saved_step: int = 0

    def run(self, state: TrainState, step: int, evaluate_fn: Evaluate | None) -> TrainState:
        config, clock, recorder = self.config, self.clock, self.recorder
        self.saved_step = step
        while step < config.steps:
            if self.asked.requested(step):
                self.save_and_wait(state, step)
                kept = f"after step {step}; a checkpoint was saved" if step else "at step 0"
                raise Preempted(f"stopped by SIGTERM {kept}")
            with clock.measure("data"):
                batch = next(self.iterator, None)
            if batch is None:
                self.save_and_wait(state, step)
                raise InputError(
                    f"the data ended after {step} steps, which are saved; train fewer steps "
                    "or allow more epochs of data"
                )
            with clock.measure("step" if self.step_fn.is_compiled(batch) else "compile"):
                state, metrics = self.step_fn(state, batch)
            step += 1
            with clock.measure("step"):
                recorder.push(metrics, None if "tokens" in metrics else _token_count(batch))
            self.watchdog.finished(recorder.step)
            if self.due(config.evaluate_every, step):
                self.evaluate(evaluate_fn, state.params, step)
            # A run in trouble keeps the checkpoints from before the trouble.
            if self.due(config.save_every, step) and recorder.flush() == 0:
                self.save(state, step)
        self.save_and_wait(state, step)
        return state

    def evaluate(self, evaluate_fn: Evaluate | None, params: Params, step: int) -> None:
        if evaluate_fn is not None:
            self.recorder.flush()
            with self.clock.measure("evaluation"):
                numbers = evaluate_fn(params, step)
            self.recorder.evaluation(numbers)

    def due(self, every: int, step: int) -> bool:
        return every > 0 and (step % every == 0 or step == self.config.steps)

    def save(self, state: TrainState, step: int) -> None:
        self.recorder.flush()
        if self.saved_step != step:
            with self.clock.measure("checkpoint"):
                data = self.iterator.get_state()
                self.checkpoints.save(state, self.recorder.as_json(), data)
            self.saved_step = step

    def save_and_wait(self, state: TrainState, step: int) -> None:
        self.save(state, step)
        with self.clock.measure("checkpoint"):
            self.checkpoints.wait()


def _token_count(batch: Mapping[str, Any]) -> int:
    """Tokens in a batch, padding left out where `segments` says what is padding."""
    if "segments" in batch:
        count = int(np.count_nonzero(batch["segments"]))
    else:
        count = batch["tokens"].size if "tokens" in batch else len(next(iter(batch.values())))
    return count

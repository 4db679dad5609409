"""Repeating a step in a run directory: resume, rows of metrics, evaluations, checkpoints."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxreason.errors import InputError, Preempted
from jaxreason.paths import as_path
from jaxreason.sharding.placement import agree
from jaxreason.sharding.together import same_on_all, tell_others
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps
from jaxreason.training.clock import Clock
from jaxreason.training.files import claim, settle_config
from jaxreason.training.metrics import MetricsFile
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preemption import Termination, termination
from jaxreason.training.progress import Progress
from jaxreason.training.recorder import Recorder
from jaxreason.training.state import TrainState
from jaxreason.training.train_config import TrainConfig, TrainResult
from jaxreason.training.watchdog import Watchdog, watching
from jaxreason.types import Metrics, Params

__all__ = ["Evaluate", "Program", "StepFunction", "TrainConfig", "TrainResult", "run_program"]

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
        wait: fetch the metrics of every step at once.
        clock: where the step itself measures its phases.
        updates_per_step: optimizer updates in each step.
        evaluate_at_start: evaluate before the first step too, if at all.
        progress: show progress on standard error.
    """
    run = as_path(run_directory)
    config, clock = train_config, Clock() if clock is None else clock
    recorder = partial(
        Recorder,
        clock=clock,
        config=config,
        optimizer_config=optimizer_config,
        flops_per_token=flops_per_token,
        wait=wait,
        updates_per_step=updates_per_step,
    )
    with (
        watching(config.step_timeout, run, clock) as watchdog,
        claim(run) if jax.process_index() == 0 else nullcontext(),
        termination() as asked,
        ExitStack() as opened,
    ):
        try:
            _settle(run, config_json)
            display = Progress(config.steps, enabled=progress and jax.process_index() == 0)
            opened.callback(display.close)
            checkpoints = Checkpoints(run, config.keep_last, config.keep_every, display.note)
            opened.callback(checkpoints.close)
            part = _Part(program, config, clock, checkpoints, asked, watchdog, display)
            return part.run(run, batches, recorder, evaluate_fn, evaluate_at_start)
        except BaseException as error:
            tell_others(error)
            raise


def _settle(run: Path, config_json: Mapping[str, Any]) -> None:
    """All processes have one config, and it is that of the run directory."""
    same_on_all(config_json)
    if jax.process_index() == 0:
        begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
        settle_config(run, config_json, begun=begun)
    agree("the run directory is ready")


class _Part(NamedTuple):
    """What this start of a process adds to a run whose directory is open."""

    program: Program
    config: TrainConfig
    clock: Clock
    checkpoints: Checkpoints
    asked: Termination
    watchdog: Watchdog
    display: Progress

    def run(
        self,
        run: Path,
        batches: Any,
        make_recorder: Callable[..., Recorder],
        evaluate_fn: Evaluate | None,
        evaluate_at_start: bool,
    ) -> TrainResult:
        iterator = iter(batches)
        state, extra = self.restore(iterator)
        step = 0 if extra is None else int(extra["step"])
        self.watchdog.begun(step)
        first = jax.process_index() == 0
        with self.closed(MetricsFile(run, step, self.config.tensorboard, write=first)) as file:
            recorder = make_recorder(
                file,
                self.display,
                step=step,
                sums=None if extra is None else extra["sums"],
                skipped=int(state.skipped),
            )
            loop = _Loop(
                self.program.step,
                self.config,
                iterator,
                self.clock,
                recorder,
                self.checkpoints,
                self.asked,
                self.watchdog,
            )
            if evaluate_at_start and extra is None and self.config.evaluate_every:
                loop.evaluate(evaluate_fn, state.params, 0)
            state = loop.run(state, step, evaluate_fn)
            return TrainResult(state, recorder.last_row, recorder.finish(run))

    def restore(self, iterator: Any) -> tuple[TrainState, Mapping[str, Any] | None]:
        """The state to go on from, and what was saved besides."""
        with self.clock.measure("checkpoint"):
            restored = self.checkpoints.restore(self.program.abstract())
        if restored is None:
            with self.clock.measure("compile"):
                return self.program.initial(), None
        state, extra = restored
        iterator.set_state(extra["data"])
        self.display.note(f"resumed from the checkpoint of step {extra['step']}")
        return state, extra

    @contextmanager
    def closed(self, file: MetricsFile) -> Iterator[MetricsFile]:
        """The rows before an error reach the file, too; the error is told to the others first."""
        try:
            yield file
        except BaseException as error:
            tell_others(error)
            try:
                file.close()
            except Exception as problem:
                self.display.note(f"the last rows of metrics.jsonl were not written: {problem}")
            raise


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
            self.watchdog.dispatched(step)
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

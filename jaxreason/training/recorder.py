"""From metrics on the device to rows in a file and a line on the screen, one step late."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from jaxreason.training.clock import PARTS, Clock
from jaxreason.training.files import write_atomically
from jaxreason.training.flops import utilisation
from jaxreason.training.metrics import MetricsFile, Sums, too_many_skipped
from jaxreason.training.optimizer import OptimizerConfig, learning_rate
from jaxreason.training.progress import Progress


class _Intervals(Protocol):
    @property
    def steps(self) -> int: ...

    @property
    def log_every(self) -> int: ...

    @property
    def max_consecutive_skipped(self) -> int: ...


_ASIDE = ("compile", "checkpoint", "evaluation")


def _working(seconds: Mapping[str, float]) -> float:
    """Seconds of training proper: rates leave out compiling, checkpoints and evaluation."""
    return sum(seconds[part] for part in PARTS if part not in _ASIDE)


class Recorder:
    """Collects every step's metrics and writes a row every `log_every` steps.

    The metrics of step n are fetched after step n + 1 was dispatched, so the device always has
    work while the host waits, and the host is never more than one step ahead.

    Args:
        file: where rows go.
        display: where people see them.
        clock: the run's wall time by part.
        config: `steps`, `log_every` and `max_consecutive_skipped`.
        optimizer_config: gives the learning rate of a row.
        step: the step the run starts or resumes at.
        sums: `as_json()["sums"]` of the checkpoint resumed from, or None.
        skipped: updates skipped up to `step`.
        flops_per_token: model FLOPs of one token, for MFU.
        wait: fetch each step's metrics at once instead.
        updates_per_step: optimizer updates in each step.
    """

    def __init__(
        self,
        file: MetricsFile,
        display: Progress,
        *,
        clock: Clock,
        config: _Intervals,
        optimizer_config: OptimizerConfig,
        step: int,
        sums: Mapping[str, Any] | None,
        skipped: int,
        flops_per_token: float | None,
        wait: bool,
        updates_per_step: int = 1,
    ) -> None:
        self._file, self._display, self._clock, self._config = file, display, clock, config
        self._flops_per_token = flops_per_token
        self._rate = jax.jit(lambda update: learning_rate(optimizer_config, update))
        self._sums = Sums(sums)
        self._pending: tuple[Any, int | None] | None = None
        self._step = self._begun = step
        self._skipped = skipped
        self._consecutive = 0
        self._wait = wait
        self._updates_per_step = updates_per_step
        self._row_start = _working(clock.seconds())
        self._row_tokens = 0
        self._row_step = step
        self.last_row: Mapping[str, Any] | None = None

    @property
    def step(self) -> int:
        """The last step whose metrics were fetched; it is over on the devices of all processes."""
        return self._step

    def push(self, metrics: Any, tokens: int | None) -> None:
        """Take the metrics of the step just dispatched; record those of the step before.

        Args:
            metrics: (sum, count) by name.
            tokens: of the step's batch; None where the sum of the metric `tokens` says it.

        Raises:
            FailureError: too many non-finite steps in a row.
        """
        before, self._pending = self._pending, (metrics, tokens)
        if before is not None:
            self._record(*before)
        if self._wait:
            self.flush()

    def flush(self) -> int:
        """Record what is pending; returns how many steps in a row were skipped up to now."""
        if self._pending is not None:
            with self._clock.measure("step"):
                before, self._pending = self._pending, None
                self._record(*before)
        return self._consecutive

    def as_json(self) -> dict[str, Any]:
        """What a checkpoint needs to continue the rows; those before it are in the file."""
        self._file.sync()
        return {"step": self._step, "sums": self._sums.as_json()}

    def _record(self, metrics: Any, tokens: int | None) -> None:
        values = jax.device_get(metrics)
        counted = values.pop("tokens", (0, 1))[0]
        tokens = int(counted) if tokens is None else tokens
        self._step += 1
        self._row_tokens += tokens
        self._sums.add(values, tokens)
        self._skipped += int(values["skipped"][0])
        self._consecutive = int(values["consecutive_skipped"][0])
        if self._step % self._config.log_every == 0 or self._step == self._config.steps:
            self._write_row()
        limit = self._config.max_consecutive_skipped
        if self._consecutive >= limit:
            raise too_many_skipped(self._consecutive, limit, self._step)

    def _write_row(self) -> None:
        seconds = self._clock.seconds()
        working = _working(seconds)
        elapsed = max(working - self._row_start, 1e-9)
        rate = self._row_tokens / elapsed
        seconds_per_step = elapsed / max(self._step - self._row_step, 1)
        self._row_start, self._row_tokens, self._row_step = working, 0, self._step
        update = max(self._step * self._updates_per_step - self._skipped - 1, 0)
        flops = self._flops_per_token
        row = {
            "step": self._step,
            **self._sums.take(),
            "learning_rate": float(self._rate(update)),
            "time": {
                "tokens_per_second": rate,
                "mfu": None if flops is None else utilisation(rate * flops),
                "eta": (self._config.steps - self._step) * seconds_per_step,
                **seconds,
            },
        }
        self._file.write(row)
        self._display.show(row)
        self.last_row = row

    def evaluation(self, numbers: Mapping[str, float]) -> None:
        """Write a row of evaluation results for the step just recorded."""
        row = {
            "step": self._step,
            "evaluation": {name: float(value) for name, value in numbers.items()},
            "time": self._clock.seconds(),
        }
        self._file.write(row)
        self._display.show(row)

    def finish(self, run: Path) -> Mapping[str, float]:
        """Close the file, write summary.json, and return the seconds by part.

        A run that had ended before keeps the summary of the process that ended it.
        """
        self._file.close()
        seconds = self._clock.seconds()
        path = run / "summary.json"
        nothing_new = self._step == self._begun and path.is_file()
        if nothing_new or jax.process_index() != 0:
            return seconds
        summary = {
            "step": self._step,
            "skipped": self._skipped,
            "tokens": self._sums.tokens,
            "devices": jax.device_count(),
            "device_kind": jax.devices()[0].device_kind,
            "seconds": seconds,
        }
        write_atomically(path, json.dumps(summary, indent=2) + "\n")
        return seconds

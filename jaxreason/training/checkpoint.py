"""Checkpoints: asynchronous, atomic, readable onto any mesh, and checked when they are read.

`checkpoints/<step>/` is an Orbax checkpoint of two trees, `params` and `training` (the rest of the
train state). Its custom metadata hold JSON text: position of the whole run in the data, sums of the
open metrics row, structure and fingerprint of the state. Orbax writes under a temporary name and
renames at the end, so a directory with a plain number is complete. What the disk did to it since is
found by reading: the restored state must have the fingerprint it was saved with.
"""

import json
import logging
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxreason.data.streams import merge_states
from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.sharding.placement import agree
from jaxreason.training.fingerprint import fingerprint, first_difference, structure
from jaxreason.training.state import TrainState
from jaxreason.types import Params


class _Damaged(Exception):
    """A checkpoint that cannot be read, or does not hold what was saved."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for the tracebacks Orbax's threads log, several times, of errors it then raises."""
    return not (record.exc_info and "orbax" in record.pathname)


def checkpoint_steps(run_directory: str | Path) -> list[int]:
    """Steps of the complete checkpoints of a run, in order."""
    root = Path(run_directory) / "checkpoints"
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if path.name.isdigit())


def _parts(state: TrainState) -> dict[str, Any]:
    """What Orbax stores as two separate trees, so that `params` can be read alone."""
    rest: Any = state
    return {"params": state.params, "training": rest._replace(params=None)}


def _read_extra(path: Path) -> dict[str, Any]:
    """The JSON that was saved beside the state, or _Damaged."""
    try:
        extra: Any = ocp.checkpointables_metadata(path).custom_metadata
        intact = zlib.crc32(extra["json"].encode()) == int(extra["crc32"])
        # Damaged bytes can make Orbax fail in any way, so any failure to read means damage.
    except Exception as error:
        raise _unreadable(path, error) from error
    if not intact:
        raise _Damaged("its metadata do not have their checksum")
    return json.loads(extra["json"])


def _data_state(path: Path, saved: Any) -> Any:
    """The data state of the run; older checkpoints have one for each process."""
    if not isinstance(saved, list):
        return saved
    if len(saved) != 1:
        raise InputError(
            f"checkpoint {path} was saved by an earlier version with {len(saved)} data positions, "
            "one for each process, which cannot be joined; start a new run"
        )
    return saved[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _unreadable(path: Path, error: Exception) -> Exception:
    """Damage, unless the reason lies outside the checkpoint: then a FailureError."""
    reason = f"{type(error).__name__}: {_first_line(error)}"
    outside = isinstance(error, PermissionError | MemoryError) or any(
        code in str(error) for code in ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED")
    )
    if outside:
        return FailureError(f"checkpoint {path} could not be read ({reason}); it was left alone")
    return _Damaged(reason)


def _read_state(path: Path, abstract: TrainState, expected: list[int]) -> TrainState:
    """The state with the shardings of `abstract`, or _Damaged."""
    parts = _parts(abstract)
    try:
        loaded = ocp.load_checkpointables(path, parts)
    except Exception as error:
        raise _unreadable(path, error) from error
    state = loaded["training"]._replace(params=loaded["params"])
    names = [name for name, _, _ in structure(abstract)]
    for name, found, saved in zip(names, fingerprint(state), expected, strict=True):
        if found != saved:
            raise _Damaged(f"{name} does not hold the values that were saved")
    return state


def load_params(
    run_directory: str | Path, abstract_params: Any, step: int | None = None
) -> tuple[Params, int]:
    """Parameters of a run, for evaluation; nothing in the run is changed.

    Args:
        run_directory: a run with checkpoints.
        abstract_params: ShapeDtypeStructs, with the shardings wanted.
        step: which checkpoint; the newest by default.

    Returns:
        The parameters and their step.

    Raises:
        FailureError: there is no (such) checkpoint, or it is damaged.
        InputError: it belongs to another model; names the first path that differs.
    """
    steps = checkpoint_steps(run_directory)
    if not steps or (step is not None and step not in steps):
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FailureError(
            f"{asked} in {run_directory}/checkpoints; steps there: {steps or 'none'}"
        )
    step = steps[-1] if step is None else step
    path = Path(run_directory).absolute() / "checkpoints" / str(step)
    try:
        extra = _read_extra(path)
        saved = [
            [name.removeprefix("params/"), *rest]
            for name, *rest in extra["structure"]
            if name.startswith("params/")
        ]
        _check_structure(path, saved, structure(abstract_params))
        params = ocp.load_checkpointables(path, {"params": abstract_params})["params"]
    except InputError:
        raise
    except Exception as error:
        raise FailureError(
            f"checkpoint {path} is damaged ({_first_line(error)}); choose another of {steps}"
        ) from error
    start = next(i for i, item in enumerate(extra["structure"]) if item[0].startswith("params/"))
    if fingerprint(params) != extra["fingerprint"][start : start + len(saved)]:
        raise FailureError(
            f"checkpoint {path} does not hold the values that were saved; choose another of {steps}"
        )
    return params, step


def _check_structure(path: Path, saved: list[list[Any]], wanted: list[list[Any]]) -> None:
    difference = first_difference(saved, wanted)
    if difference is not None:
        raise InputError(
            f"checkpoint {path} belongs to another model or optimizer: {difference}; use the "
            "config it was trained with or another run directory"
        )


class Checkpoints:
    """The checkpoints of one run, as the training loop uses them.

    Args:
        run_directory: they live in its `checkpoints/`.
        keep_last: how many of the newest stay; two or more survive a damaged newest one.
        keep_every: checkpoints at multiples of this step stay for good; 0 for none.
        warn: told about each damaged checkpoint, in a sentence.
    """

    def __init__(
        self,
        run_directory: Path,
        keep_last: int = 2,
        keep_every: int = 0,
        warn: Callable[[str], None] = print,
    ) -> None:
        self._run = run_directory.absolute()
        self._root = self._run / "checkpoints"
        self._warn = warn
        policies = ocp.training.preservation_policies
        keep: list[Any] = [policies.LatestN(keep_last)]
        if keep_every:
            keep.append(policies.EveryNSteps(keep_every))
        logging.getLogger("absl").addFilter(_is_news)
        with disk_errors(str(self._root)):
            self._orbax = ocp.training.Checkpointer(
                self._root,
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=True,
            )
        self._pending: Any = None

    def save(self, state: TrainState, extra: Mapping[str, Any], data_state: Any) -> None:
        """Begin to save; returns when the state has been copied and may be donated again.

        Waits for the save before, if that is still being written.

        Raises:
            FailureError: this save or the one before could not be written; older ones are intact.
        """
        self.wait()
        body = {
            **extra,
            "data": merge_states(agree(data_state)),
            "structure": structure(state),
            "fingerprint": fingerprint(state),
        }
        text = json.dumps(body)
        metadata = {"json": text, "crc32": zlib.crc32(text.encode())}
        with disk_errors(f"the checkpoint of step {int(state.step)}"):
            self._pending = self._orbax.save_checkpointables_async(
                int(state.step), _parts(state), custom_metadata=metadata
            )

    def wait(self) -> None:
        """Wait until the last save is complete on disk.

        Raises:
            FailureError: it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            with disk_errors("a checkpoint"):
                pending.result()

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """The newest checkpoint that can be read, with the shardings of `abstract`.

        A damaged one is reported and moved to `damaged/` in the run directory.

        Returns:
            The state and `extra`, or None if there is none. Its `data` is that of the whole run,
            good for any number of processes.

        Raises:
            InputError: it belongs to another model.
            FailureError: there are checkpoints, but all are damaged.
        """
        steps = checkpoint_steps(self._run)
        for step in reversed(steps):
            path = self._root / str(step)
            try:
                extra = _read_extra(path)
                _check_structure(path, extra["structure"], structure(abstract))
                state = _read_state(path, abstract, extra["fingerprint"])
            except _Damaged as damage:
                self._set_aside(step, str(damage))
                continue
            return state, {**extra, "data": _data_state(path, extra["data"])}
        if steps:
            raise FailureError(
                f"all checkpoints of {self._run} are damaged (steps {steps}, now in damaged/); "
                "start again in another run directory"
            )
        return None

    def _set_aside(self, step: int, reason: str) -> None:
        target = self._run / "damaged" / str(step)
        if jax.process_index() == 0:
            with disk_errors(str(target)):
                target.parent.mkdir(exist_ok=True)
                count = sum(1 for _ in target.parent.glob(f"{step}*"))
                target = target.with_name(f"{step}.{count}") if count else target
                (self._root / str(step)).rename(target)
        self._orbax.reload()
        self._warn(
            f"checkpoint of step {step} is damaged ({reason}); it was moved to {target}, "
            "and the one before is used"
        )

    def close(self) -> None:
        """Wait for the last save and let go of Orbax's threads."""
        try:
            self.wait()
        finally:
            with disk_errors("a checkpoint"):
                self._orbax.close()

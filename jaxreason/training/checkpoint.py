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
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxreason.data.streams import merge_states
from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import as_path
from jaxreason.sharding.lost import end_lost, is_lost
from jaxreason.sharding.placement import agree
from jaxreason.training.checkpoint_store import complete_steps, readable, store_of
from jaxreason.training.fingerprint import fingerprint, first_difference, structure
from jaxreason.training.state import TrainState
from jaxreason.types import Params


class _Damaged(Exception):
    """A checkpoint that cannot be read, or does not hold what was saved."""


class _DamagedHere(_Damaged):
    """The part of a checkpoint that this one of several processes reads is damaged."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for the tracebacks Orbax's threads log, several times, of errors it then raises."""
    return not (record.exc_info and "orbax" in record.pathname)


def checkpoint_steps(run_directory: str | Path) -> list[int]:
    """Steps of the complete checkpoints of a run, in order."""
    return complete_steps(as_path(run_directory) / "checkpoints")


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


def _alike(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` gives; _Damaged on every process if it is on any."""
    value, damage = None, None
    try:
        value = read(path)
    except _Damaged as error:
        damage = str(error)
    damages = [found for found in agree(damage) if found is not None]
    if damages:
        raise _Damaged(damages[0])
    return value


def _unreadable(path: Path, error: Exception) -> Exception:
    """Damage, unless the reason lies outside the checkpoint: then a FailureError."""
    if is_lost(error):
        return FailureError(f"checkpoint {path} was not read to the end: a process is gone")
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
        reason = _unreadable(path, error)
        here = isinstance(reason, _Damaged) and jax.process_count() > 1
        raise (_DamagedHere(*reason.args) if here else reason) from error
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
    path = as_path(run_directory).absolute() / "checkpoints" / str(step)
    try:
        with readable(path) as place:
            extra = _read_extra(place)
            saved = [
                [name.removeprefix("params/"), *rest]
                for name, *rest in extra["structure"]
                if name.startswith("params/")
            ]
            _check_structure(path, saved, structure(abstract_params))
            params = ocp.load_checkpointables(place, {"params": abstract_params})["params"]
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
        self._store = store_of(self._root, keep_last, keep_every)
        keep_last, keep_every = self._store.kept_in_place
        policies = ocp.training.preservation_policies
        keep: list[Any] = [policies.LatestN(keep_last)]
        if keep_every:
            keep.append(policies.EveryNSteps(keep_every))
        logging.getLogger("absl").addFilter(_is_news)
        with disk_errors(str(self._root)):
            self._orbax = ocp.training.Checkpointer(
                self._store.place,
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
            saving = self._orbax.save_checkpointables_async(
                int(state.step), _parts(state), custom_metadata=metadata
            )
            self._pending = self._store.sent(int(state.step), saving)

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

        A damaged one is reported and moved to `damaged/` in the run directory. If only some of
        several processes can see that, they all end as lost, and find the one before next time.

        Returns:
            The state and `extra`, or None if there is none. Its `data` is that of the whole run,
            good for any number of processes.

        Raises:
            InputError: it belongs to another model.
            FailureError: there are checkpoints, but all are damaged.
        """
        steps = agree(checkpoint_steps(self._run))[0]
        for step in reversed(steps):
            path = self._root / str(step)
            try:
                with readable(path) as place:
                    extra = _alike(_read_extra, place)
                    _check_structure(path, extra["structure"], structure(abstract))
                    state = _read_state(place, abstract, extra["fingerprint"])
            except _DamagedHere as damage:
                self._move_aside(step)
                end_lost(f"checkpoint of step {step} is damaged ({damage}) and was moved aside")
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
        target = self._move_aside(step) if jax.process_index() == 0 else None
        target = agree(str(target))[0]
        self._orbax.reload()
        self._warn(
            f"checkpoint of step {step} is damaged ({reason}); it was moved to {target}, "
            "and the one before is used"
        )

    def _move_aside(self, step: int) -> Path:
        target = self._run / "damaged" / str(step)
        with disk_errors(str(target)):
            target.parent.mkdir(exist_ok=True)
            count = sum(1 for _ in target.parent.glob(f"{step}*"))
            target = target.with_name(f"{step}.{count}") if count else target
            # Two processes may have found the damage.
            with suppress(FileNotFoundError):
                (self._root / str(step)).rename(target)
        return target

    def close(self) -> None:
        """Wait for the last save and let go of Orbax's threads."""
        try:
            self.wait()
        finally:
            with disk_errors("a checkpoint"):
                self._orbax.close()
                self._store.close()

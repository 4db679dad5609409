"""Reading a checkpoint: what was saved, onto any mesh, or the news that it is damaged."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.sharding.lost import is_lost
from jaxreason.sharding.placement import agree
from jaxreason.training.checkpoint_store import complete_steps, readable
from jaxreason.training.fingerprint import fingerprint, first_difference, structure
from jaxreason.training.state import TrainState
from jaxreason.types import Params


class Damaged(Exception):
    """A checkpoint that cannot be read, or does not hold what was saved."""


class DamagedHere(Damaged):
    """The part of a checkpoint that this one of several processes reads is damaged."""


def checkpoint_steps(run_directory: str | Path) -> list[int]:
    """Steps of the complete checkpoints of a run, in order."""
    return complete_steps(as_path(run_directory) / "checkpoints")


def stored_parts(state: TrainState) -> dict[str, Any]:
    """What Orbax stores as two separate trees, so that `params` can be read alone."""
    rest: Any = state
    return {"params": state.params, "training": rest._replace(params=None)}


def read_extra(path: Path) -> dict[str, Any]:
    """The JSON that was saved beside the state, or Damaged."""
    try:
        extra: Any = ocp.checkpointables_metadata(path).custom_metadata
        intact = zlib.crc32(extra["json"].encode()) == int(extra["crc32"])
        # Damaged bytes can make Orbax fail in any way, so any failure to read means damage.
    except Exception as error:
        raise _unreadable(path, error) from error
    if not intact:
        raise Damaged("its metadata do not have their checksum")
    return json.loads(extra["json"])


def run_data_state(path: Path, saved: Any) -> Any:
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


def alike(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` gives; Damaged on every process if it is on any."""
    value, damage = None, None
    try:
        value = read(path)
    except Damaged as error:
        damage = str(error)
    damages = [found for found in agree(damage) if found is not None]
    if damages:
        raise Damaged(damages[0])
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
    return Damaged(reason)


def read_state(path: Path, abstract: TrainState, expected: list[int]) -> TrainState:
    """The state with the shardings of `abstract`, or Damaged."""
    try:
        loaded = ocp.load_checkpointables(path, stored_parts(abstract))
    except Exception as error:
        reason = _unreadable(path, error)
        here = isinstance(reason, Damaged) and jax.process_count() > 1
        raise (DamagedHere(*reason.args) if here else reason) from error
    state = loaded["training"]._replace(params=loaded["params"])
    names = [name for name, _, _ in structure(abstract)]
    for name, found, saved in zip(names, fingerprint(state), expected, strict=True):
        if found != saved:
            raise Damaged(f"{name} does not hold the values that were saved")
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
            extra = read_extra(place)
            saved = [
                [name.removeprefix("params/"), *rest]
                for name, *rest in extra["structure"]
                if name.startswith("params/")
            ]
            check_structure(path, saved, structure(abstract_params))
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


def check_structure(path: Path, saved: list[list[Any]], wanted: list[list[Any]]) -> None:
    """Refuse a checkpoint of another model or optimizer, by the first leaf that differs."""
    difference = first_difference(saved, wanted)
    if difference is not None:
        raise InputError(
            f"checkpoint {path} belongs to another model or optimizer: {difference}; use the "
            "config it was trained with or another run directory"
        )

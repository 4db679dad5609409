"""Reading a checkpoint: what was saved, onto any mesh, or the news that it is damaged."""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path, is_local
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


class Unreachable(FailureError):
    """A checkpoint that cannot be read now; nothing says that it is damaged."""


_PAUSES = (1.0, 4.0)
"""Seconds before reading again: a network folder's view may be that old after a restart."""

_REFUSED = re.compile(r"\b(RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAUTHENTICATED)\b")
_FOR_A_WHILE = re.compile(r"\b(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b")
_WRONG_BYTES = re.compile(r"DATA_LOSS|OUT_OF_RANGE|checksum|decod|corrupt|truncated", re.I)
_UNDECODED = json.JSONDecodeError, UnicodeDecodeError, zlib.error


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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def alike(read: Callable[[Path], Any], path: Path) -> Any:
    """What `read` gives, on every process, or one error on all of them.

    Raises:
        Damaged: no process can read it.
        FailureError: some processes can, or the reason lies outside the checkpoint; both still
            so when they tried again a little later.
    """
    for pause in (*_PAUSES, None):
        value, problem = None, None
        try:
            value = read(path)
        except (Damaged, FailureError) as error:
            problem = isinstance(error, Damaged), str(error)
        problems = agree(problem)
        if not any(problems):
            return value
        if all(found and found[0] for found in problems):
            raise Damaged(problems[0][1])
        if pause is not None:
            time.sleep(pause)
    process, (_, reason) = next((i, found) for i, found in enumerate(problems) if found)
    if all(problems):
        raise FailureError(next(text for damaged, text in problems if not damaged))
    raise FailureError(
        f"process {process} cannot read checkpoint {path} ({reason}), which process "
        f"{problems.index(None)} can: do all processes see this directory? It was left alone"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _unreadable(path: Any, error: Exception) -> Exception:
    """Damage, unless the reason lies outside the checkpoint: then a FailureError.

    Disks and networks that fail for a while are no damage, which would cost the work since the
    checkpoint before. What else an object store may answer is not known, so that there only what
    says that the bytes are wrong is damage.
    """
    if is_lost(error):
        return FailureError(f"checkpoint {path} was not read to the end: a process is gone")
    # Orbax raises errors of its own from what went wrong.
    chain = list(_causes(error))
    reason = f"{type(chain[-1]).__name__}: {_first_line(chain[-1])}"
    text = "\n".join(map(str, chain))
    if any(isinstance(e, PermissionError | MemoryError) for e in chain) or _REFUSED.search(text):
        return FailureError(f"checkpoint {path} could not be read ({reason}); it was left alone")
    absent = FileNotFoundError, NotADirectoryError, IsADirectoryError
    local = is_local(as_path(path))
    if local:
        outside = any(isinstance(e, OSError) and not isinstance(e, absent) for e in chain)
    else:
        undecoded = any(isinstance(e, _UNDECODED) for e in chain)
        outside = not undecoded and not _WRONG_BYTES.search(text)
    if outside or _FOR_A_WHILE.search(text):
        return Unreachable(
            f"checkpoint {path} could not be read ({reason}); it was left alone: start again when "
            "its disk or network is in order, or move it away to go on from the one before"
        )
    return Damaged(reason)


def read_state(path: Path, abstract: TrainState, expected: list[int]) -> TrainState:
    """The state with the shardings of `abstract`.

    Raises:
        Damaged: it cannot be read, or has another fingerprint than `expected`.
        DamagedHere: so it is, but only this process may have seen it.
        Unreachable: the reason lies outside; on a single process it was tried twice.
        FailureError: the reason lies outside and will stay.
    """
    try:
        loaded = _load_state(path, abstract)
    except Unreachable:
        if jax.process_count() > 1:
            raise  # the others may not try again
        time.sleep(sum(_PAUSES))
        loaded = _load_state(path, abstract)
    state = loaded["training"]._replace(params=loaded["params"])
    names = [name for name, _, _ in structure(abstract)]
    for name, found, saved in zip(names, fingerprint(state), expected, strict=True):
        if found != saved:
            raise Damaged(f"{name} does not hold the values that were saved")
    return state


def _load_state(path: Path, abstract: TrainState) -> Any:
    try:
        return ocp.load_checkpointables(path, stored_parts(abstract))
    except Exception as error:
        reason = _unreadable(path, error)
        here = isinstance(reason, Damaged) and jax.process_count() > 1
        raise (DamagedHere(*reason.args) if here else reason) from error


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
    except (InputError, FailureError):
        raise
    except Exception as error:
        reason = error if isinstance(error, Damaged) else _unreadable(path, error)
        if isinstance(reason, FailureError):
            raise reason from error
        raise FailureError(
            f"checkpoint {path} is damaged ({_first_line(reason)}); choose another of {steps}"
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

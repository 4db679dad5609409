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
from jaxreason.errors import FailureError, disk_errors
from jaxreason.paths import is_local
from jaxreason.sharding.lost import end_lost
from jaxreason.sharding.placement import agree
from jaxreason.training.checkpoint_reading import (
    Damaged,
    DamagedHere,
    Unreachable,
    alike,
    check_structure,
    checkpoint_steps,
    load_params,
    read_extra,
    read_state,
    run_data_state,
    stored_parts,
)
from jaxreason.training.checkpoint_store import readable, store_of
from jaxreason.training.fingerprint import fingerprint, structure
from jaxreason.training.preemption import keep_count
from jaxreason.training.state import TrainState

__all__ = ["Checkpoints", "checkpoint_steps", "load_params"]

LARGE_LAYER = 1 << 20
"""Bytes of one layer of a parameter, from which on layers are stored apart."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for the tracebacks Orbax's threads log, several times, of errors it then raises."""
    return not (record.exc_info and "orbax" in record.pathname)


def _storing_by_layer() -> Any:
    """Orbax's options: layers of large stacked parameters in chunks of their own.

    So those who read a checkpoint layer by layer need the memory of a layer.
    """
    options = ocp.options.ArrayOptions.Saving.StorageOptions

    def chosen(path: Any, leaf: Any) -> Any:
        stacked = bool(path) and getattr(path[0], "key", path[0]) == "layers"
        if not stacked or leaf.ndim < 2 or leaf.nbytes < LARGE_LAYER * leaf.shape[0]:
            return None
        return options(shard_axes=(0,))

    context = ocp.Context()
    context.array.saving.scoped_storage_options_creator = chosen
    return context


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
        with disk_errors(str(self._root)):
            self._store = store_of(self._root, keep_last, keep_every)
        keep_last, keep_every = self._store.kept_in_place
        policies = ocp.training.preservation_policies
        keep: list[Any] = [policies.LatestN(keep_last)]
        if keep_every:
            keep.append(policies.EveryNSteps(keep_every))
        logging.getLogger("absl").addFilter(_is_news)
        keep_count()
        with disk_errors(str(self._root)):
            self._orbax = ocp.training.Checkpointer(
                self._store.place,
                context=_storing_by_layer(),
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=is_local(self._root),
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
                int(state.step), stored_parts(state), custom_metadata=metadata
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
        several processes can see that of its arrays, they all end as lost, and find the one before
        next time. One that cannot be reached stays where it is: several processes end as lost, to
        try again.

        Returns:
            The state and `extra`, or None if there is none. Its `data` is that of the whole run,
            good for any number of processes.

        Raises:
            InputError: it belongs to another model.
            FailureError: there are checkpoints, but all are damaged; or the newest cannot be read
                for a reason outside of it, or not by all processes.
        """
        steps = agree(checkpoint_steps(self._run))[0]
        for step in reversed(steps):
            path = self._root / str(step)
            try:
                with readable(path) as place:
                    extra = alike(read_extra, place)
                    check_structure(path, extra["structure"], structure(abstract))
                    state = read_state(place, abstract, extra["fingerprint"])
            except DamagedHere as damage:
                self._move_aside(step)
                end_lost(f"checkpoint of step {step} is damaged ({damage}) and was moved aside")
            except Unreachable as error:
                if jax.process_count() == 1:
                    raise
                end_lost(str(error))
            except Damaged as damage:
                self._set_aside(step, str(damage))
                continue
            return state, {**extra, "data": run_data_state(path, extra["data"])}
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

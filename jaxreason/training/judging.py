"""Answers drawn on all devices and judged on the hosts, with any number of processes.

Prompts and answers are whole on every process; verifiers may be slow, so a process judges only the
rows of its share, and all learn what all say.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import FailureError, InputError
from jaxreason.rewards import Reward
from jaxreason.sharding.placement import agree, data_share, gather_rows, place_everywhere, to_host
from jaxreason.types import Params

Verdicts = TypeVar("Verdicts")


def ambient(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """The mesh that programs compiled inside are laid out on; nothing for None."""
    return nullcontext() if mesh is None else jax.set_mesh(mesh)


def draw(sampler: Any, params: Params, prompts: Any, key: jax.Array, mesh: Mesh | None) -> Any:
    """What a sampler makes of prompts, as numpy arrays, all rows on every process.

    Args:
        sampler: `(params, prompts, key) -> arrays`.
        params: on the devices of the mesh.
        prompts: numpy arrays [B, ...], the same on every process.
        key: of the sampling, the same on every process.
        mesh: devices the rows are split over; None for one.
    """
    placed = place_everywhere(prompts, mesh)
    with ambient(mesh):
        return to_host(sampler(params, placed, key))


def judge_rows(
    judge: Callable[[Sequence[Any], Any], Verdicts],
    problems: Sequence[Any],
    answers: Any,
    mesh: Mesh | None,
) -> Verdicts:
    """`judge(problems, answers)`, each process judging the rows of its share.

    Args:
        judge: of a row it says what does not depend on the others; a tree of arrays [rows].
        problems: one per row, the same on every process.
        answers: tree of numpy arrays [rows, ...], the same on every process.
        mesh: what the shares are of.

    Raises:
        InputError: from `judge`, here or on another process.
        FailureError: `judge` failed on another process, or says other things there.
    """
    if jax.process_count() == 1:
        # Names come in the order that they have with several processes.
        return jax.tree.map(lambda leaf: leaf, judge(problems, answers))
    share, rows = data_share(mesh), len(problems)
    each = -(-rows // share.count)
    # Shares are of equal size: the last ones judge the last row again.
    mine = np.minimum(np.arange(share.index * each, (share.index + 1) * each), rows - 1)
    verdicts: Any = None
    failure: Exception | None = None
    try:
        verdicts = judge([problems[i] for i in mine], jax.tree.map(lambda x: x[mine], answers))
    except Exception as error:  # raised below, when the others know
        failure = error
    leaves, structure = jax.tree.flatten(verdicts)
    dtypes = _agree(failure, str(structure), [np.asarray(leaf).dtype.str for leaf in leaves])
    # What one process makes of whole numbers another makes of fractions.
    same = [np.asarray(leaf, dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]
    gathered = [leaf[:rows] for leaf in gather_rows(same, mesh)]
    return jax.tree.unflatten(structure, gathered)


def _agree(failure: Exception | None, structure: str, dtypes: list[str]) -> list[np.dtype]:
    """The dtypes that hold the verdicts of all processes; raises when one of them failed."""
    told = None
    if failure is not None:
        told = [isinstance(failure, InputError), f"{type(failure).__name__}: {failure}"]
    reports = agree([told, structure, dtypes])
    if failure is not None:
        raise failure
    for process, (wrong, *said) in enumerate(reports):
        if wrong is not None:
            kind = InputError if wrong[0] else FailureError
            raise kind(f"judging failed on process {process}: {wrong[1]}")
        if said[0] != structure:
            raise FailureError(
                f"process {process} judges its rows by {said[0]}, this one by {structure}; a "
                "reward must have the same breakdown for all completions"
            )
    kinds = zip(*(report[2] for report in reports), strict=True)
    return [np.result_type(*kind) for kind in kinds]


def check_reward(reward: Reward, rows: int) -> None:
    """Refuse rewards that are no finite number per completion.

    Raises:
        InputError: names the shape or the first bad entry.
    """
    for name, values in {"values": reward.values, **reward.breakdown}.items():
        if np.shape(values) != (rows,):
            raise InputError(
                f"reward {name} has shape {np.shape(values)}; expected one number for each of "
                f"{rows} completions, ({rows},)"
            )
        if np.asarray(values).dtype.kind not in "buif":
            dtype = np.asarray(values).dtype
            raise InputError(f"reward {name} has dtype {dtype}; expected numbers")
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            row = int(bad[0])
            raise InputError(
                f"reward {name} of completion {row} is {values[row]}; expected a finite number"
            )


def checked(reward: Callable[[Sequence[Any], Any], Reward]) -> Callable[..., Reward]:
    """The same reward, refusing what is no finite number per completion."""

    def judge(problems: Sequence[Any], answers: Any) -> Reward:
        found = reward(problems, answers)
        check_reward(found, len(problems))
        return found

    return judge

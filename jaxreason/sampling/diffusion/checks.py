"""Checks of ids, made on arrays that are all here and left out within jitted functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.errors import InputError


def readable(array: jax.Array | np.ndarray) -> bool:
    """Whether its values can be looked at: neither traced nor partly with other processes."""
    if isinstance(array, jax.core.Tracer):
        return False
    return not isinstance(array, jax.Array) or array.is_fully_addressable


def check_integers(array: Any, whose: str) -> None:
    """That an array holds whole numbers.

    Args:
        array: anything with a dtype.
        whose: its name in the message, such as "prompts have tokens".

    Raises:
        InputError: it does not.
    """
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise InputError(f"{whose} of dtype {array.dtype}; expected whole numbers (int32)")


def check_ids(ids: np.ndarray, size: int, row_name: str, real: np.ndarray | None = None) -> None:
    """That ids are in a vocabulary.

    Args:
        ids: [rows, columns].
        size: of the vocabulary.
        row_name: what a row is, such as "prompt".
        real: [rows, columns] bool, the places that are read; all of them if None.

    Raises:
        InputError: names the first id that is not, its row and place.
    """
    wrong = (ids < 0) | (ids >= size)
    if real is not None:
        wrong &= real
    if wrong.any():
        row, place = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"{row_name} {row} has id {ids[row, place]} at place {place}; the model has ids 0 to "
            f"{size - 1}"
        )

"""The five tasks of a diffusion batch, and the fields that say what may be masked."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxreason.errors import InputError
from jaxreason.types import Batch

TASKS = ("t2i", "lm", "lm_chat", "mmu", "r2i")
"""Index into it is a row's `task`: text to image, text, dialogue, image to text, reasoned image."""

IMAGE_TASK = TASKS.index("t2i")


@dataclass(frozen=True)
class TaskCoefficients:
    """What each task's loss is multiplied by; the defaults are MMaDA's first stage.

    Attributes:
        t2i: text to image.
        lm: text.
        lm_chat: dialogue.
        mmu: image to text.
        r2i: reasoning, then an image.

    Raises:
        InputError: a negative coefficient.
    """

    t2i: float = 1.0
    lm: float = 0.1
    lm_chat: float = 0.1
    mmu: float = 1.0
    r2i: float = 1.0

    def __post_init__(self) -> None:
        for task in TASKS:
            if not getattr(self, task) >= 0:
                raise InputError(
                    f"coefficients.{task}={getattr(self, task)}: expected a number of at least 0"
                )

    def of_rows(self, task: Array) -> Float[Array, " B"]:
        """The coefficient of each row, [B] float32."""
        return jnp.array([getattr(self, name) for name in TASKS], jnp.float32)[task]


def require(batch: Batch, names: Sequence[str]) -> None:
    """Raises InputError if the batch lacks one of the fields `names`."""
    missing = [name for name in names if name not in batch]
    if missing:
        raise InputError(f"the batch lacks {', '.join(missing)}; it has {', '.join(sorted(batch))}")


def require_token(name: str, token: int, vocabulary_size: int) -> None:
    """Raises InputError if `token` is no id of the vocabulary."""
    if not 0 <= token < vocabulary_size:
        raise InputError(
            f"{name}={token}: expected a token id, 0 to {vocabulary_size - 1} for this model"
        )

"""Evidence bounds of answers that a diffusion model has not seen, example by example."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, get_args

import jax
import numpy as np

from jaxreason.data.multimodal.mixing import TaskSource
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.diffusion.likelihood import elbo, exact_elbo
from jaxreason.objectives.diffusion.mask_draws import MaskDrawConfig
from jaxreason.sharding.placement import to_host
from jaxreason.tokens.layouts import LayoutConfig, LayoutRow
from jaxreason.types import Params

Padding = Literal["predicted", "hidden"]
LONGEST_EXACT = 12
"""So many tokens have 4095 masks; longer answers are estimated."""
ROWS_AT_ONCE = 64
"""Masked rows per call of the model, about."""


class LaidOutSource(TaskSource, Protocol):
    """Rows by example and task whose layout tells the special tokens."""

    @property
    def layout(self) -> LayoutConfig:
        """Sizes and ids of the rows."""
        ...


@dataclass(frozen=True)
class BoundConfig:
    """How answers are scored.

    Attributes:
        draws: masks per answer where not all of them are tried (LLaDA's estimator: k of n tokens,
            k uniform, weight n / k).
        padding: the end tokens that fill a row up after its answer. `predicted`: part of what is
            scored, as in training: a bound of the probability of answer and end together, the
            length not known beforehand. `hidden`: nobody sees them, so that the answer's length is
            given away (LLaDA, get_log_likelihood.py).
        exact: answers of at most so many maskable tokens are scored under every mask, 0 for none.
            With blocks these are the tokens of a block.
        batch: answers scored together.
        seed: of the masks.

    Raises:
        InputError: a value out of range.
    """

    draws: int = 32
    padding: Padding = "predicted"
    exact: int = LONGEST_EXACT
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("exact", 0), ("batch", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.exact > LONGEST_EXACT:
            raise InputError(
                f"exact is {self.exact}; expected at most {LONGEST_EXACT}: the number of masks "
                "doubles with every token"
            )
        if self.padding not in get_args(Padding):
            raise InputError(f"padding is {self.padding!r}; expected one of predicted, hidden")


class Bounds(NamedTuple):
    """Scores of n answers.

    Attributes:
        nats: [n] float64, lower bound of the log-probability of each answer.
        tokens: [n] int64, its tokens up to and with the first end token, and those of a picture.
        exact: whether the bounds are exact, without chance in them.
    """

    nats: np.ndarray
    tokens: np.ndarray
    exact: bool


def filling(row: LayoutRow, eos: int) -> np.ndarray:
    """[T] bool, the end tokens after the first one of the answer."""
    ends = (row.tokens == eos) & row.maskable & ~row.image
    return ends & (np.cumsum(ends) > 1)


def answer_bounds(
    model: Transformer,
    params: Params,
    source: LaidOutSource,
    task: str,
    examples: Sequence[int],
    *,
    config: BoundConfig | None = None,
    mask_mode: MaskMode = "bool",
    block: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Bounds:
    """Bounds of the log-probability of the right answers to some examples of a task.

    Everything maskable in a training row is the answer: the picture of a drawing, what follows the
    last header (the line break after it too), a plain text altogether. One compiled program,
    whatever the number of examples.

    Args:
        model: a transformer.
        params: its parameters.
        source: rows by example and task.
        task: of the source.
        examples: places in it.
        config: see `BoundConfig`.
        mask_mode: as the model was trained.
        block: 0, or the length of the blocks it was trained on.
        on_progress: called with (answers scored, answers in all).

    Raises:
        InputError: no example, an unknown task.
    """
    config = config or BoundConfig()
    if not len(examples):
        raise InputError(f"there is no example of task {task!r} to score; expected at least one")
    ids = source.layout.ids
    answers, counted = _answers(source, task, examples, config.padding)
    maskable = answers["maskable"]
    among = maskable.reshape(-1, block) if block else maskable
    most = int(among.sum(axis=1).max())
    exact = most <= config.exact
    batch = min(config.batch, len(counted))
    options: dict[str, Any] = {
        "mask_id": ids.mask,
        "mask_mode": mask_mode,
        "at_once": max(1, ROWS_AT_ONCE // batch),
        "block": block,
    }
    if exact:
        score = exact_elbo(model, longest=most, **options)
    else:
        score = elbo(model, config=MaskDrawConfig(draws=config.draws), **options)
    nats = _in_batches(partial(score, params), answers, batch, config.seed, on_progress)
    return Bounds(nats, counted, exact)


def _answers(
    source: LaidOutSource, task: str, examples: Sequence[int], padding: Padding
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`tokens`, `maskable` and `keys` [n, T] of the rows, and the tokens counted [n]."""
    rows = [source.row(int(i), task) for i in examples]
    filled = np.stack([filling(row, source.layout.ids.eos) for row in rows])
    names = ("tokens", "maskable", "keys")
    found = {name: np.stack([getattr(row, name) for row in rows]) for name in names}
    counted = (found["maskable"] & ~filled).sum(axis=1)
    if padding == "hidden":
        found |= {name: found[name] & ~filled for name in ("maskable", "keys")}
    return found, counted


def _in_batches(
    score: Callable[[Any, jax.Array], Any],
    answers: Mapping[str, np.ndarray],
    batch: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """[n] float64, the scores of all answers."""
    count = len(answers["tokens"])
    nats = []
    for first in range(0, count, batch):
        # The last batch is filled up, so that nothing is compiled again.
        places = np.minimum(np.arange(first, first + batch), count - 1)
        part = {name: values[places] for name, values in answers.items()}
        key = jax.random.fold_in(jax.random.key(seed), first)
        nats.append(np.asarray(to_host(score(part, key)), np.float64))
        if on_progress is not None:
            on_progress(min(first + batch, count), count)
    return np.concatenate(nats)[:count]

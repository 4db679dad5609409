"""A small CLIP for mazes: descriptions and pictures of one maze world, trained in a minute.

It stands in for the published model where rewards of picture and text are tried out: a learned
reward that can be wrong, beside the exact one of `jaxreason.rewards.pictures`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.errors import InputError
from jaxreason.mazes.problem import Problem
from jaxreason.models.clip import Clip
from jaxreason.models.clip_config import ClipConfig, TowerConfig
from jaxreason.models.clip_pixels import clip_pixels
from jaxreason.objectives.contrastive import contrastive
from jaxreason.rewards.image_text import Scorer
from jaxreason.training.diffusion.picture_scorers import clip_scorer
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.state import init_state
from jaxreason.training.step import make_step
from jaxreason.types import Params


@dataclass(frozen=True)
class MazeClipConfig:
    """Size and training of a CLIP for mazes.

    Attributes:
        task: whose pictures and questions it learns.
        layers: of each tower.
        width: of each tower and of the common space.
        heads: of each tower.
        steps: training steps.
        batch: pairs of a batch; each picture's wrong texts are the other ones'.
        learning_rate: its peak.
        seed: of the weights and of the order of the pairs.

    Raises:
        InputError: an unknown task, or fewer than one step or two pairs.
    """

    task: Literal["draw_maze", "draw_solution"] = "draw_maze"
    layers: int = 2
    width: int = 64
    heads: int = 4
    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in ("draw_maze", "draw_solution"):
            raise InputError(f"task is {self.task!r}; expected 'draw_maze' or 'draw_solution'")
        for name, least in (("steps", 1), ("batch", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")


class MazeClip(NamedTuple):
    """A trained model and how it reads texts.

    Attributes:
        model: CLIP over the words of the world; one patch for each cell.
        params: its parameters.
        tokenize: words of the world to ids.
        describe: the text of a problem, as `image_text_reward` wants it.
        accuracy: [steps] float32, share of each batch's pictures whose own text was the nearest.
    """

    model: Clip
    params: Params
    tokenize: Callable[[Sequence[str]], np.ndarray]
    describe: Callable[[Problem], str]
    accuracy: np.ndarray

    def scorer(self, scale: float = 100.0) -> Scorer:
        """100 times the cosine between text and picture, as of a published CLIP."""
        return clip_scorer(self.model, self.params, self.tokenize, scale)


def train_maze_clip(source: MazeWorldSource, config: MazeClipConfig | None = None) -> MazeClip:
    """Trains on pairs of question and picture, the picture as the source's codec decodes it.

    Args:
        source: the maze world; its `count` mazes are gone through in random order.
        config: size and training.

    Raises:
        InputError: fewer mazes than one batch has pairs.
    """
    config = config or MazeClipConfig()
    if len(source) < config.batch:
        raise InputError(f"batch is {config.batch}; the world has {len(source)} mazes only")
    vocabulary = source.vocabulary

    def describe(problem: Problem) -> str:
        return vocabulary.decode(source.sentences.question(config.task, problem, chat=False))

    length = max(len(vocabulary.encode(describe(source.problem(i)))) for i in range(len(source)))

    def tokenize(texts: Sequence[str]) -> np.ndarray:
        tokens = np.full((len(texts), length + 1), vocabulary.eos, np.int32)
        for i, (row, text) in enumerate(zip(tokens, texts, strict=True)):
            ids = vocabulary.encode(text)
            if len(ids) > length:
                raise InputError(f"text {i} has {len(ids)} words; the model takes up to {length}")
            row[: len(ids)] = ids
        return tokens

    model = Clip(_shape(source, config, length + 1))
    optimizer = make_optimizer(
        OptimizerConfig(
            learning_rate=config.learning_rate,
            warmup_steps=min(50, config.steps),
            total_steps=config.steps,
        )
    )
    step = make_step(contrastive(model), optimizer)
    state = init_state(model.init, optimizer, jax.random.key(config.seed))
    accuracy = []
    for indices in _batches(len(source), config):
        texts = [describe(source.problem(i)) for i in indices]
        codes = np.stack([source.codes(i, config.task == "draw_solution") for i in indices])
        pixels = clip_pixels(source.codec.decode(codes), model.config.image_size)
        batch: dict[str, Any] = {"tokens": tokenize(texts), "pixels": pixels}
        state, metrics = step(state, batch)
        accuracy.append(metrics["accuracy"])
    shares = np.array([float(right / count) for right, count in accuracy], np.float32)
    return MazeClip(model, state.params, tokenize, describe, shares)


def _shape(source: MazeWorldSource, config: MazeClipConfig, length: int) -> ClipConfig:
    rows, columns = source.codec.picture
    cells = source.world.width
    if rows != columns or source.world.height != cells:
        raise InputError(
            f"pictures are {columns}x{rows} pixels; CLIP takes square ones, of square mazes"
        )
    tower = TowerConfig(config.layers, config.width, config.heads, 4 * config.width)
    return ClipConfig(
        tower,
        tower,
        config.width,
        vocabulary_size=source.vocabulary.size,
        text_length=length,
        end_token=source.vocabulary.eos,
        image_size=rows,
        patch_size=rows // cells,
    )


def _batches(count: int, config: MazeClipConfig) -> Iterator[list[int]]:
    """Each batch without repetition; epochs in another order each, their rest left out."""
    generator = np.random.default_rng(config.seed)
    made = 0
    while True:
        order = generator.permutation(count)
        for start in range(0, count - config.batch + 1, config.batch):
            if made == config.steps:
                return
            made += 1
            yield order[start : start + config.batch].tolist()

"""Block diffusion as a way to train on rows of words: settings, and what they ask of the rest."""

from collections.abc import Iterable
from dataclasses import dataclass

from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS
from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.diffusion.block_diffusion import BlockDiffusionConfig, Per
from jaxreason.training.diffusion.decoding import DecodingConfig


@dataclass(frozen=True)
class BlockTraining:
    """Blocks one after the other, masked diffusion inside each (BD3-LM, arXiv 2503.09573).

    Blocks are counted from the first token of a row, its prompt included, in training as in
    decoding; a prompt may end inside a block. The model reads a noisy and a clean copy of each row,
    so a step costs twice as much.

    Attributes:
        length: tokens of a block; 0 trains masked diffusion over whole rows.
        least_ratio, most_ratio, at_least_one, per: see `BlockDiffusionConfig`.

    Raises:
        InputError: a value out of its range.
    """

    length: int = 0
    least_ratio: float = 1e-3
    most_ratio: float = 1.0
    at_least_one: bool = False
    per: Per = "token"

    def __post_init__(self) -> None:
        if self.length < 0:
            raise InputError(f"blocks.length is {self.length}; it must be at least 0")
        try:
            self.config("bool")
        except InputError as error:
            raise InputError(f"blocks: {error}") from error

    def config(self, mask_mode: MaskMode) -> BlockDiffusionConfig:
        """What the objective takes."""
        return BlockDiffusionConfig(
            block=max(self.length, 1),
            least_ratio=self.least_ratio,
            most_ratio=self.most_ratio,
            at_least_one=self.at_least_one,
            per=self.per,
            mask_mode=mask_mode,
        )

    def check(
        self, model: TransformerConfig, decoding: DecodingConfig, tasks: Iterable[str]
    ) -> None:
        """That model, decoding and tasks go with these blocks, or with none.

        Raises:
            InputError: names the field that does not.
        """
        wanted = "block_causal" if self.length else "bidirectional"
        if model.attention != wanted:
            kind = (
                f"block diffusion (blocks.length {self.length})"
                if self.length
                else ("masked diffusion without blocks")
            )
            raise InputError(f"model.attention is {model.attention!r}; {kind} needs {wanted!r}")
        caches = ("none", "block") if self.length else ("none", "prefix", "dual")
        if decoding.cache not in caches:
            raise InputError(
                f"decoding.cache is {decoding.cache!r} and blocks.length {self.length}; expected "
                f"one of {', '.join(caches)}"
            )
        if not self.length:
            return
        if decoding.block != self.length:
            raise InputError(
                f"decoding.block is {decoding.block} and blocks.length {self.length}; a model of "
                "blocks decodes those it was trained on: make them equal"
            )
        for task in tasks:
            if task in PICTURE_TASKS:
                raise InputError(
                    f"rows has task {task!r} and blocks.length is {self.length}; blocks are for "
                    "answers in words: pictures are decoded in one piece, all places at once"
                )

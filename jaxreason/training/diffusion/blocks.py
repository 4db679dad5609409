"""Block diffusion as a way to train on rows of words: settings, and what they ask of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax

from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.models.attention import MaskMode
from jaxreason.objectives.diffusion.block_diffusion import (
    BlockDiffusionConfig,
    Per,
    block_diffusion,
)
from jaxreason.objectives.diffusion.masked_cross_entropy import (
    MaskedDiffusionConfig,
    masked_diffusion,
)
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.flops import training_flops_per_token
from jaxreason.types import Objective


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

    def objective(
        self,
        model: Transformer,
        mask_id: int,
        unblocked: MaskedDiffusionConfig,
        chunk: int | None = None,
    ) -> Objective:
        """The loss on a diffusion batch: of blocks, or `unblocked` where there are none."""
        if not self.length:
            return masked_diffusion(model, mask_id=mask_id, config=unblocked, chunk=chunk)
        config = self.config(unblocked.mask_mode)
        return block_diffusion(model, mask_id=mask_id, config=config, chunk=chunk)

    def flops_per_token(self, model: Transformer, length: int) -> float:
        """FLOPs of training on one token of a row of `length`."""
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        if not self.length:
            return training_flops_per_token(shapes, length, causal=False)
        # Two copies of every token; over all blocks, each sees half a row on average.
        return 2 * training_flops_per_token(shapes, length, causal=True)

    def check(
        self,
        model: TransformerConfig,
        objective: MaskedDiffusionConfig,
        pictures: Sequence[str],
        decoding: DecodingConfig | None = None,
    ) -> None:
        """That the rest of an experiment goes with these blocks, or with none.

        Args:
            model: its attention.
            objective: of training without blocks.
            pictures: trained tasks whose answers are pictures.
            decoding: of answers in words, if any are decoded.

        Raises:
            InputError: names the field that does not.
        """
        wanted = "block_causal" if self.length else "bidirectional"
        kind = f"block diffusion (blocks.length {self.length})"
        if model.attention != wanted:
            kind = kind if self.length else "masked diffusion without blocks"
            raise InputError(f"model.attention is {model.attention!r}; {kind} needs {wanted!r}")
        if decoding is not None:
            self._check_decoding(decoding)
        if self.length and pictures:
            raise InputError(
                f"rows has task {pictures[0]!r} and blocks.length is {self.length}; blocks are for "
                "answers in words: pictures are decoded in one piece, all places at once"
            )
        if self.length and replace(objective, mask_mode="bool") != MaskedDiffusionConfig():
            raise InputError(
                f"objective is set and blocks.length is {self.length}; block diffusion has one "
                "loss for all rows: leave all of objective but mask_mode as it is by default"
            )

    def _check_decoding(self, decoding: DecodingConfig) -> None:
        caches = ("none", "block") if self.length else ("none", "prefix", "dual")
        if decoding.cache not in caches:
            raise InputError(
                f"decoding.cache is {decoding.cache!r} and blocks.length {self.length}; expected "
                f"one of {', '.join(caches)}"
            )
        if self.length and decoding.block != self.length:
            raise InputError(
                f"decoding.block is {decoding.block} and blocks.length {self.length}; a model of "
                "blocks decodes those it was trained on: make them equal"
            )

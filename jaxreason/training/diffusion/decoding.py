"""How a diffusion model's answers are decoded when it is judged: words and pictures."""

from dataclasses import dataclass
from typing import Literal

from jaxreason.errors import InputError
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.images import ImageDiffusionConfig


@dataclass(frozen=True)
class DecodingConfig:
    """Settings of both samplers.

    Attributes:
        length: tokens of an answer in words; 0 takes the room the world leaves for one.
        block: tokens of a block, decoded one after the other; 0 decodes the answer as one.
        tokens_per_step: tokens revealed by a denoising step; must divide the block.
        threshold: reveal every token at least this probable as well (Fast-dLLM); None is off.
        cache: keys and values kept between steps, see `TextDiffusionConfig`.
        temperature: of words; 0 takes the most likely.
        image_steps: denoising steps of a picture.
        image_temperature: of picture tokens; 0 takes the most likely.
        choice_temperature: noise in the choice of which picture tokens to keep.
        guidance: classifier-free guidance of pictures; 0 is none.

    Raises:
        InputError: a number out of range.
    """

    length: int = 0
    block: int = 0
    tokens_per_step: int = 1
    threshold: float | None = None
    cache: Literal["none", "prefix", "dual", "block"] = "none"
    temperature: float = 0.0
    image_steps: int = 12
    image_temperature: float = 1.0
    choice_temperature: float = 1.0
    guidance: float = 0.0

    def __post_init__(self) -> None:
        least = {"length": 0, "block": 0, "tokens_per_step": 1, "image_steps": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(
                    f"decoding.{name} is {getattr(self, name)}; it must be at least {minimum}"
                )
        if self.block and self.block % self.tokens_per_step:
            raise InputError(
                f"decoding.tokens_per_step is {self.tokens_per_step}, which does not divide "
                f"decoding.block ({self.block})"
            )

    def text(self, room: int) -> TextDiffusionConfig:
        """The sampler of words; the answer is made longer to hold whole blocks.

        Args:
            room: tokens an answer may need, where `length` does not say.
        """
        length = self.length or room
        unit = self.block or self.tokens_per_step
        length = unit * -(-length // unit)
        return TextDiffusionConfig(
            length=length,
            block=self.block or None,
            steps=length // self.tokens_per_step,
            temperature=self.temperature,
            threshold=self.threshold,
            cache=self.cache,
        )

    def image(self, tokens: int, history: bool = False) -> ImageDiffusionConfig:
        """The sampler of pictures of that many tokens."""
        return ImageDiffusionConfig(
            tokens=tokens,
            steps=self.image_steps,
            guidance=self.guidance,
            temperature=self.image_temperature,
            choice_temperature=self.choice_temperature,
            history=history,
        )

"""How a diffusion model's answers are decoded when it is judged: words and pictures."""

from dataclasses import dataclass
from typing import Any, Literal

from jaxreason.errors import InputError
from jaxreason.models.attention import MaskMode
from jaxreason.sampling.diffusion.config import TEXT_MASK_MODES, Remasking, TextDiffusionConfig
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
        remasking: which words a step keeps, see `TextDiffusionConfig`, as for the next two.
        ban_eos: never generate the end-of-sequence token.
        defer_eos: keep end tokens last.
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
    remasking: Remasking = "low_confidence"
    ban_eos: bool = False
    defer_eos: bool = False

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

    def text(self, room: int, mask_mode: MaskMode = "bool") -> TextDiffusionConfig:
        """The sampler of words; the answer is made longer to hold whole blocks.

        Args:
            room: tokens an answer may need, where `length` does not say.
            mask_mode: of padding, as the model was trained.

        Raises:
            InputError: blocks and steps that do not go together, a mode no sampler has.
        """
        mode: Any = sampled_mode(mask_mode)
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
            mask_mode=mode,
            remasking=self.remasking,
            ban_eos=self.ban_eos,
            defer_eos=self.defer_eos,
        )

    def image(
        self, tokens: int, history: bool = False, mask_mode: MaskMode = "bool"
    ) -> ImageDiffusionConfig:
        """The sampler of pictures of that many tokens; `mask_mode` as for `text`."""
        mode: Any = sampled_mode(mask_mode)
        return ImageDiffusionConfig(
            tokens=tokens,
            steps=self.image_steps,
            guidance=self.guidance,
            temperature=self.image_temperature,
            choice_temperature=self.choice_temperature,
            history=history,
            mask_mode=mode,
        )


def sampled_mode(mask_mode: MaskMode) -> MaskMode:
    """The mode, if samplers have it.

    Raises:
        InputError: they do not.
    """
    if mask_mode not in TEXT_MASK_MODES:
        raise InputError(
            f"objective.mask_mode is {mask_mode!r}, which reproduces an error of published code "
            f"and which no answer is decoded with; expected one of {', '.join(TEXT_MASK_MODES)}"
        )
    return mask_mode

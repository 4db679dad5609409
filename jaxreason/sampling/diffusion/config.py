"""Settings of diffusion decoding over text, checked before anything is compiled."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxreason.errors import InputError
from jaxreason.models import Transformer

Remasking = Literal["low_confidence", "random"]
CacheKind = Literal["none", "prefix", "dual", "block"]
TextMaskMode = Literal["bool", "full", "legacy_float"]
REMASKINGS: tuple[str, ...] = ("low_confidence", "random")
CACHES: tuple[str, ...] = ("none", "prefix", "dual", "block")
TEXT_MASK_MODES: tuple[str, ...] = ("bool", "full", "legacy_float")


@dataclass(frozen=True)
class TextDiffusionConfig:
    """How masked tokens are filled in, block after block (LLaDA, Nie et al. 2025).

    Attributes:
        length: tokens to generate; the width of the canvas for `infill`.
        block: tokens of a block; a block is finished before the next begins. None is one block.
        steps: denoising steps over all blocks, split evenly over them; None is one token per step.
            With a threshold it is the most steps there can be.
        temperature: scales the Gumbel noise added to the logits; 0 takes the most likely token.
        remasking: which tokens a step keeps: those of highest probability, or random ones.
        guidance: classifier-free guidance scale s; logits become
            unconditional + (s + 1) (conditional - unconditional). 0 is none and costs nothing.
        threshold: a step also keeps every token of at least this probability (Fast-dLLM, Wu et
            al. 2025); 0 takes one step per block, above 1 it changes nothing. None is off.
        cache: `none` runs the whole sequence at every step. `prefix` and `dual` (Fast-dLLM) run it
            once per block and then only what follows the prefix, or only the block; approximate
            from two layers on. `block` is exact, for block-diffusion models.
        suppress_mask: never generate the mask id. False is what the reference code does: the id
            may then remain in the result.
        stop_early: leave a row as soon as it has an end token and no mask before it. The result
            is the same.
        ban_eos: never generate the end-of-sequence token (LLaDA's `logits_eos_inf`).
        defer_eos: keep end-of-sequence and end-of-turn tokens last (LLaDA's
            `confidence_eos_eot_inf`, whose code defers only the end of turn above temperature 0).
        mask_mode: `bool` hides padding; the others reproduce reference numbers, see
            `AttentionSpec`, and let a row depend on its padding.

    Raises:
        InputError: a value out of range, or values that do not go together.
    """

    length: int
    block: int | None = None
    steps: int | None = None
    temperature: float = 0.0
    remasking: Remasking = "low_confidence"
    guidance: float = 0.0
    threshold: float | None = None
    cache: CacheKind = "none"
    suppress_mask: bool = True
    stop_early: bool = True
    ban_eos: bool = False
    defer_eos: bool = False
    mask_mode: TextMaskMode = "bool"

    def __post_init__(self) -> None:
        _check_sizes(self)
        for name, values in (
            ("remasking", REMASKINGS),
            ("cache", CACHES),
            ("mask_mode", TEXT_MASK_MODES),
        ):
            if getattr(self, name) not in values:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; expected {values}")
        for name in ("temperature", "guidance"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} is {value}; it must be 0 (none) or above")
        if self.threshold is not None:
            if not (math.isfinite(self.threshold) and self.threshold >= 0):
                raise InputError(
                    f"threshold is {self.threshold}; it must be a probability (0 to 1), above 1 "
                    "for one token per step, or None"
                )
            if self.remasking != "low_confidence":
                raise InputError(
                    f"threshold {self.threshold} does not go with remasking {self.remasking!r}: "
                    "it compares probabilities; use 'low_confidence'"
                )
        if self.cache != "none" and self.mask_mode == "legacy_float":
            raise InputError(
                f"cache {self.cache!r} does not go with mask_mode 'legacy_float'; use cache 'none'"
            )

    @property
    def block_length(self) -> int:
        """Tokens of a block."""
        return self.length if self.block is None else self.block

    @property
    def block_steps(self) -> int:
        """Denoising steps of a block, at most."""
        blocks = self.length // self.block_length
        return self.block_length if self.steps is None else self.steps // blocks


def _check_sizes(config: TextDiffusionConfig) -> None:
    if config.length < 1:
        raise InputError(f"length is {config.length}; it must be at least 1")
    block = config.block_length
    if block < 1 or config.length % block:
        raise InputError(
            f"block {block} does not divide length {config.length}; blocks must be of equal length"
        )
    blocks = config.length // block
    if config.steps is None:
        return
    if config.steps < 1 or config.steps % blocks:
        raise InputError(
            f"steps {config.steps} do not divide evenly over {blocks} blocks "
            f"(length {config.length}, block {block}); expected a multiple of {blocks}"
        )
    if config.steps > config.length:
        raise InputError(
            f"steps {config.steps} are more than the {config.length} tokens to generate; "
            "a step keeps at least one token"
        )


def check_model(model: Transformer, config: TextDiffusionConfig, **ids: int | None) -> None:
    """That the model can be decoded this way, and that every id is in its vocabulary.

    Raises:
        InputError: a causal model; a model of blocks without `config.block`; a cache that is not
            for this model; an id out of range.
    """
    kind = model.config.attention
    if kind == "causal":
        raise InputError(
            "model.attention is 'causal'; diffusion decoding needs 'bidirectional' or "
            "'block_causal'"
        )
    if config.mask_mode != "bool" and kind != "bidirectional":
        raise InputError(
            f"mask_mode {config.mask_mode!r} is for bidirectional models, and model.attention is "
            f"{kind!r}; use 'bool'"
        )
    if config.cache == "block" and kind == "bidirectional":
        raise InputError(
            "cache 'block' is for block-diffusion models, and model.attention is 'bidirectional'; "
            "use 'prefix' or 'dual'"
        )
    if config.cache in ("prefix", "dual") and kind != "bidirectional":
        raise InputError(
            f"cache {config.cache!r} is for bidirectional models, and model.attention is "
            f"{kind!r}; use 'block', which is exact"
        )
    if kind != "bidirectional" and config.block is None:
        raise InputError(
            f"block is None and model.attention is {kind!r}; give the length of the blocks that "
            "the model was trained on"
        )
    vocabulary = model.config.vocabulary_size
    for name, value in ids.items():
        if value is not None and not 0 <= value < vocabulary:
            raise InputError(f"{name} is {value}; expected an id below {vocabulary}")
    mask_id = ids["mask_id"]
    for name, value in ids.items():
        if name != "mask_id" and value == mask_id:
            raise InputError(f"{name} and mask_id are both {mask_id}; the mask needs its own id")

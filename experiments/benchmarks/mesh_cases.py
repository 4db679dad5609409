"""One training step of every kind of objective, and one call of every sampler, at any size.

The batches are random numbers of the right shapes and kinds, always the same ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from jaxreason.models import Critic, Transformer, TransformerConfig
from jaxreason.models.magvit import Magvit, MagvitConfig
from jaxreason.objectives.algorithms import ALGORITHMS
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.block_diffusion import BlockDiffusionConfig, block_diffusion
from jaxreason.objectives.diffusion.masked_cross_entropy import masked_diffusion
from jaxreason.objectives.diffusion.policy import diffusion_policy
from jaxreason.objectives.diffusion.preference import diffusion_preference
from jaxreason.objectives.image_tokenizer import TokenizerLossConfig, image_tokenizer
from jaxreason.objectives.kto import kto
from jaxreason.objectives.next_token import next_token
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.objectives.preference import dpo, orpo
from jaxreason.objectives.process_reward import process_reward_loss
from jaxreason.objectives.value import value_loss
from jaxreason.sampling import autoregressive
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.images import ImageDiffusionConfig, diffusion_image
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.sharding.rules import CONVOLUTION_RULES, TRANSFORMER_RULES, Rule
from jaxreason.types import Objective, Params

MASK, EOS, PAD = 0, 1, 2
"""Ids of the token vocabulary; image codes are its upper half."""


@dataclass(frozen=True)
class Size:
    """Of models and batches.

    Attributes:
        model: shape of the transformers; a case decides who sees whom.
        picture: of the image tokenizer.
        rows: of a global batch.
        length: tokens of a row.
        side: pixels of a picture.
        new: tokens that a sampler of text writes.
        chunk: tokens whose logits exist at once; None computes all together.
    """

    model: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(32, 2, 16, 4, 2, 4, 32)
    )
    picture: MagvitConfig = field(
        default_factory=lambda: MagvitConfig(8, (1, 2), (1, 1), (1, 2), (1, 1), 4, 4)
    )
    rows: int = 8
    length: int = 16
    side: int = 8
    new: int = 8
    chunk: int | None = None


class Training(NamedTuple):
    """What `make_step` and a state are made of."""

    objective: Objective
    init: Callable[[Any], Params]
    batch: Mapping[str, np.ndarray]
    rules: tuple[Rule, ...] = TRANSFORMER_RULES


class Sampling(NamedTuple):
    """A sampler and what it is called with."""

    sampler: Any
    init: Callable[[Any], Params]
    prompts: Mapping[str, np.ndarray]


def random_numbers() -> np.random.Generator:
    """Always the same."""
    return np.random.default_rng(0)


def sequences(size: Size, *width: int) -> dict[str, np.ndarray]:
    """Rows of two packed examples and some padding, the ends of them targets."""
    shape = (size.rows, *width, size.length)
    random, place = random_numbers(), np.arange(size.length)
    first, second = size.length // 2, size.length - size.length // 8
    segments = np.where(place < first, 1, np.where(place < second, 2, 0))
    positions = np.where(place < first, place, np.where(place < second, place - first, 0))
    return {
        "tokens": random.integers(3, size.model.vocabulary_size, shape).astype(np.int32),
        "targets_mask": np.broadcast_to((segments > 0) & (positions > 2), shape).copy(),
        "segments": np.broadcast_to(segments, shape).astype(np.int32),
        "positions": np.broadcast_to(positions, shape).astype(np.int32),
    }


def rollout(size: Size) -> dict[str, np.ndarray]:
    """Judged completions, as the policy, the critic and the reward model learn from them."""
    random, found = random_numbers(), sequences(size)
    shape = found["tokens"].shape

    def numbers(middle: float, spread: float) -> np.ndarray:
        return random.normal(middle, spread, shape).astype(np.float32)

    return {
        **found,
        "advantages": numbers(0, 1),
        "old_log_probabilities": numbers(-3, 0.2),
        "reference_log_probabilities": numbers(-3, 0.2),
        "returns": numbers(0, 1),
        "old_values": numbers(0, 0.1),
        "correct": (np.arange(size.rows) % 2).astype(np.float32),
    }


def pairs(size: Size) -> dict[str, np.ndarray]:
    """Two completions of each prompt, one sequence in a row."""
    found = sequences(size, 2)
    ones = np.ones_like(found["segments"])
    place = np.broadcast_to(np.arange(size.length, dtype=np.int32), ones.shape)
    random = random_numbers()
    return {
        **found,
        "targets_mask": place >= size.length // 2,
        "segments": ones,
        "positions": place.copy(),
        "reference_log_probabilities": random.normal(-9, 1, (size.rows, 2)).astype(np.float32),
        "desirable": np.arange(size.rows) % 2 == 0,
    }


def denoised(size: Size) -> dict[str, np.ndarray]:
    """Rows of masked diffusion, pictures and texts."""
    shape = (size.rows, size.length)
    place = np.broadcast_to(np.arange(size.length), shape)
    tokens = random_numbers().integers(3, size.model.vocabulary_size, shape)
    return {
        "tokens": tokens.astype(np.int32),
        "maskable": place >= size.length // 4,
        "keys": np.broadcast_to(place > 0, shape).copy(),
        "visible_targets": np.zeros(shape, bool),
        "task": (np.arange(size.rows) % 3).astype(np.int32),
    }


def noised(size: Size, *width: int) -> dict[str, np.ndarray]:
    """Answers of a diffusion policy under two noises each."""
    random = random_numbers()
    shape = (size.rows, *width, 2, size.length)
    masked = random.random(shape) < 0.5
    masked[..., : size.length // 4] = False
    rows = (size.rows, *width, size.length)

    def scores() -> np.ndarray:
        return np.where(masked, random.normal(-3, 0.2, shape), 0).astype(np.float32)

    return {
        "tokens": random.integers(3, size.model.vocabulary_size, rows).astype(np.int32),
        "keys": np.ones(rows, bool),
        "masked": masked,
        "weights": masked.astype(np.float32),
        "old_log_probabilities": scores(),
        "reference_log_probabilities": scores(),
        "advantages": random.normal(0, 1, size.rows).astype(np.float32),
        "lengths": np.full(size.rows, size.length - size.length // 4, np.float32),
    }


def prompts(size: Size) -> dict[str, np.ndarray]:
    """Prompts in words, of several lengths."""
    shape = (size.rows, size.length)
    tokens = random_numbers().integers(3, size.model.vocabulary_size, shape)
    lengths = size.length - np.arange(size.rows) % 3
    return {"tokens": tokens.astype(np.int32), "lengths": lengths.astype(np.int32)}


def canvases(size: Size) -> dict[str, np.ndarray]:
    """Texts followed by pictures all masked, and their twins without text."""
    shape = (size.rows, size.length)
    image = np.broadcast_to(np.arange(size.length) >= size.length // 2, shape).copy()
    words = random_numbers().integers(3, size.model.vocabulary_size // 2, shape)
    tokens = np.where(image, MASK, words).astype(np.int32)
    return {
        "tokens": tokens,
        "keys": np.ones(shape, bool),
        "image": image,
        "unconditional_tokens": np.where(image, MASK, PAD).astype(np.int32),
        "unconditional_keys": image,
    }


def model_of(size: Size, attention: Any = "causal") -> Transformer:
    """The transformer of a case."""
    return Transformer(replace(size.model, attention=attention))


def training_cases(size: Size) -> dict[str, Callable[[], Training]]:
    """Name to what is trained; of losses that differ in a formula alone there is one."""
    causal, both = model_of(size), model_of(size, "bidirectional")
    critic, magvit = Critic(causal.config), Magvit(size.picture)
    chunk = size.chunk
    mask: dict[str, Any] = {"mask_id": MASK, "chunk": chunk}

    def policy(method: str) -> Training:
        objective = policy_gradient(
            causal,
            ALGORITHMS[method],
            max_tokens=size.length,
            batch_rows=size.rows,
            chunk=chunk,
        )
        return Training(objective, causal.init, rollout(size))

    def preference(objective: Objective) -> Training:
        return Training(objective, causal.init, pairs(size))

    def diffusion(method: str) -> Training:
        objective = diffusion_policy(both, DIFFUSION_ALGORITHMS[method], **mask)
        return Training(objective, both.init, noised(size))

    def pictures() -> Training:
        shape = (size.rows, size.side, size.side, 3)
        images = random_numbers().integers(0, 256, shape).astype(np.uint8)
        objective = image_tokenizer(magvit, TokenizerLossConfig())
        return Training(objective, magvit.init, {"images": images}, CONVOLUTION_RULES)

    blocks = BlockDiffusionConfig(block=size.length // 4)
    return {
        "next token": lambda: Training(next_token(causal, chunk), causal.init, sequences(size)),
        "GRPO": lambda: policy("grpo"),
        "GSPO": lambda: policy("gspo"),
        "DAPO": lambda: policy("dapo"),
        "PPO critic": lambda: Training(value_loss(critic), critic.init, rollout(size)),
        "PRIME reward model": lambda: Training(
            process_reward_loss(causal, chunk=chunk), causal.init, rollout(size)
        ),
        "DPO": lambda: preference(dpo(causal, chunk=chunk)),
        "ORPO": lambda: preference(orpo(causal, likelihood_of="sequence", chunk=chunk)),
        "KTO": lambda: preference(kto(causal, chunk=chunk)),
        "masked diffusion": lambda: Training(
            masked_diffusion(both, **mask), both.init, denoised(size)
        ),
        "block diffusion": lambda: Training(
            block_diffusion(causal, config=blocks, **mask), causal.init, denoised(size)
        ),
        "UniGRPO": lambda: diffusion("unigrpo"),
        "coupled-GRPO": lambda: diffusion("coupled_grpo"),
        "ESPO": lambda: diffusion("espo"),
        "SPG": lambda: diffusion("spg"),
        "VRPO": lambda: Training(diffusion_preference(both, **mask), both.init, noised(size, 2)),
        "image tokenizer": pictures,
    }


def sampling_cases(size: Size) -> dict[str, Callable[[], Sampling]]:
    """Name to what is sampled: every kind of cache, two completions of each prompt."""
    causal, both = model_of(size), model_of(size, "bidirectional")
    blocks = model_of(size, "block_diffusion")

    def words() -> Sampling:
        sampler = autoregressive(causal, max_new_tokens=size.new, eos=EOS, pad=PAD, samples=2)
        return Sampling(sampler, causal.init, prompts(size))

    def text(cache: Any, **fields: Any) -> Sampling:
        model = blocks if cache == "block" else both
        config = TextDiffusionConfig(
            length=size.new, block=size.new // 2, temperature=1.0, cache=cache, **fields
        )
        sampler = diffusion_text(model, config, mask_id=MASK, eos=EOS, pad=PAD, samples=2)
        return Sampling(sampler, model.init, prompts(size))

    def picture() -> Sampling:
        tokens = size.length - size.length // 2
        half = size.model.vocabulary_size // 2
        config = ImageDiffusionConfig(tokens=tokens, steps=4, guidance=1.5)
        sampler = diffusion_image(
            both, config, image_offset=half, image_codes=half, mask_id=MASK, samples=2
        )
        return Sampling(sampler, both.init, canvases(size))

    return {
        "words": words,
        "diffusion text": lambda: text("none"),
        "diffusion text, guided": lambda: text("none", guidance=1.0),
        "diffusion text, prefix cache": lambda: text("prefix"),
        "diffusion text, dual cache": lambda: text("dual"),
        "diffusion text, block cache": lambda: text("block"),
        "pictures": picture,
    }

"""Pictures by masked diffusion: all image tokens at once, the least certain ones again.

MaskGIT's decoding (Chang et al. 2022) as MMaDA uses it (Yang et al. 2025; the Gen-Verse/MMaDA
repository, `t2i_generate`), in one jitted call. Known tokens stay, so that inpainting is the same
call on a canvas that is not all masked, see `jaxreason.sampling.diffusion.inpainting`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.attention import AttentionSpec
from jaxreason.models.transformer import Transformer
from jaxreason.sampling.diffusion.branches import apart, together
from jaxreason.sampling.diffusion.image_prompts import check_arguments, check_prompts
from jaxreason.sampling.diffusion.image_schedule import TemperatureDecay, masked_counts
from jaxreason.sampling.diffusion.image_steps import Canvas, Step, all_steps
from jaxreason.types import Batch, Params


@dataclass(frozen=True)
class ImageDiffusionConfig:
    """How pictures are decoded.

    Attributes:
        tokens: N, image tokens of one picture.
        steps: T, model calls. More steps than tokens are allowed: the last token waits.
        guidance: g of (1 + g) conditional - g unconditional logits; 0 needs no unconditional twin.
            MMaDA's examples use 3.5, its function's default is 0.
        temperature: divides the logits tokens are drawn from; 0 takes the most likely token.
        choice_temperature: multiplies the Gumbel noise added to log-probabilities when it is
            chosen which tokens to mask again; 0 is deterministic.
        temperature_decay: how the choice temperature falls, see `choice_temperatures`.
        schedule: share masked after each step, see `masked_share`.
        scheduled: what the share is of: `unknown` tokens at the start (MaskGIT) or all of the
            `image` (the Gen-Verse/MMaDA repository). They differ only where part is known.
        mask_mode: how `keys` of the prompt are used, see `AttentionSpec`.
        history: also return the canvas after every step.

    Raises:
        InputError: a value out of range.
    """

    tokens: int
    steps: int = 15
    guidance: float = 0.0
    temperature: float = 1.0
    choice_temperature: float = 1.0
    temperature_decay: TemperatureDecay = "compounding"
    schedule: str = "cosine"
    scheduled: Literal["unknown", "image"] = "unknown"
    mask_mode: Literal["full", "bool", "legacy_float"] = "bool"
    history: bool = False

    def __post_init__(self) -> None:
        for name in ("tokens", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("guidance", "temperature", "choice_temperature"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or above")
        for name, known in (
            ("temperature_decay", ("compounding", "linear")),
            ("scheduled", ("unknown", "image")),
            ("mask_mode", ("full", "bool", "legacy_float")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {known}")
        masked_counts(self.schedule, self.tokens, self.steps)


class ImageCompletions(NamedTuple):
    """Pictures as codes; B counts prompts x samples, the samples of a prompt next to each other.

    Attributes:
        codes: [B, N] int32 image codes in the order of the image slots.
        log_probabilities: [B, N] float32 of each token under the guided distribution over image
            codes, before temperature, in the step that kept it; 0 where it was known.
        order: [B, N] int32, the step that kept the token, from 0; -1 where it was known.
        history: [B, T, N] int32, codes after each step, -1 where still masked; or None.
    """

    codes: Int[Array, "B N"]
    log_probabilities: Float[Array, "B N"]
    order: Int[Array, "B N"]
    history: Int[Array, "B T N"] | None = None


ImageSampler = Callable[[Params, Batch, PRNGKeyArray], ImageCompletions]
"""`(params, prompts, key) -> ImageCompletions`."""


class _Ids(NamedTuple):
    """Where the image codes lie in the vocabulary, and the mask."""

    image_offset: int
    image_codes: int
    mask_id: int


def diffusion_image(
    model: Transformer,
    config: ImageDiffusionConfig,
    *,
    image_offset: int,
    image_codes: int,
    mask_id: int,
    samples: int = 1,
) -> ImageSampler:
    """A sampler of pictures.

    It takes prompts `{tokens [B, T] int32, keys [B, T] bool, image [B, T] bool}`, N image slots in
    each row, each with the mask id or, to be kept, an image id; guidance needs
    `unconditional_tokens` and `unconditional_keys` [B, T] besides, the same row without its text:
    the image slots are at the same places and always hold what the row itself holds. (The reference
    cuts a fixed number of columns off the unconditional row, which then misses the picture made so
    far unless its text has the one length this number was made for.)

    A row's result depends on its own prompt, its index and the key, not on the other rows: its
    random numbers come from the key folded with row and step.

    Args:
        model: a bidirectional transformer.
        config: how to decode.
        image_offset: id of image code 0.
        image_codes: number of image codes; only these are drawn.
        mask_id: id of a masked token.
        samples: pictures per prompt.

    Raises:
        InputError: ids that do not fit the model; from the sampler, prompts that do not fit.
    """
    ids = _Ids(image_offset, image_codes, mask_id)
    check_arguments(model, *ids, samples)
    steps = all_steps(
        config.tokens,
        config.steps,
        config.scheduled,
        config.schedule,
        config.temperature_decay,
        config.choice_temperature,
    )

    @jax.jit
    def decode(params: Params, prompts: Batch, key: PRNGKeyArray) -> ImageCompletions:
        prompts = {name: jnp.repeat(array, samples, axis=0) for name, array in prompts.items()}
        return _decode(model, config, ids, steps, params, prompts, key)

    def sample(params: Params, prompts: Batch, key: PRNGKeyArray) -> ImageCompletions:
        names = check_prompts(
            prompts,
            tokens=config.tokens,
            guided=config.guidance != 0,
            vocabulary_size=model.config.vocabulary_size,
            **ids._asdict(),
        )
        return decode(params, {name: jnp.asarray(prompts[name]) for name in names}, key)

    return sample


def _decode(
    model: Transformer,
    config: ImageDiffusionConfig,
    ids: _Ids,
    steps: Step,
    params: Params,
    prompts: Batch,
    key: PRNGKeyArray,
) -> ImageCompletions:
    """Every step from the canvas of the prompts to the pictures, one sample per row."""
    slots = jnp.argsort(~prompts["image"], axis=1, stable=True)[:, : config.tokens]
    known = jnp.take_along_axis(prompts["tokens"], slots, axis=1)
    codes = jnp.where(known == ids.mask_id, -1, known - ids.image_offset).astype(jnp.int32)
    unknown = jnp.sum(codes < 0, axis=1)

    def advance(canvas: Canvas, step: Step) -> tuple[Canvas, Array | None]:
        logits = _slot_logits(model, config, ids, params, prompts, slots, canvas.codes)
        drawn, noise = _draw(logits, config.temperature, key, step.number)
        last = step.number == config.steps - 1
        canvas = _keep(canvas, logits, drawn, noise, step, step.masked[unknown], last)
        return canvas, canvas.codes if config.history else None

    start = Canvas(codes, jnp.zeros(codes.shape, jnp.float32), jnp.full_like(codes, -1))
    end, history = jax.lax.scan(advance, start, steps)
    return ImageCompletions(*end, None if history is None else jnp.swapaxes(history, 0, 1))


def _slot_logits(
    model: Transformer,
    config: ImageDiffusionConfig,
    ids: _Ids,
    params: Params,
    prompts: Batch,
    slots: Int[Array, "B N"],
    codes: Int[Array, "B N"],
) -> Float[Array, "B N C"]:
    """Logits of the codes in the image slots of a canvas, guided if so configured."""
    guided = config.guidance != 0
    filled = jnp.where(codes < 0, ids.mask_id, codes + ids.image_offset)
    tokens, keys = prompts["tokens"], prompts["keys"]
    if guided:
        tokens = together(tokens, prompts["unconditional_tokens"])
        keys = together(keys, prompts["unconditional_keys"])
        slots, filled = together(slots, slots), together(filled, filled)
    tokens = jnp.put_along_axis(tokens, slots, filled, axis=1, inplace=False)
    spec = AttentionSpec("bidirectional", keys=keys, mask_mode=config.mask_mode)
    hidden, _ = model.apply(params, tokens, None, spec)
    hidden = jnp.take_along_axis(hidden, slots[..., None], axis=1)
    logits = image_logits(model, params, hidden, ids.image_offset, ids.image_codes)
    if guided:
        conditional, unconditional = apart(logits)
        logits = (1 + config.guidance) * conditional - config.guidance * unconditional
    return logits


def image_logits(
    model: Transformer,
    params: Params,
    hidden: Float[Array, "... D"],
    image_offset: int,
    image_codes: int,
) -> Float[Array, "... C"]:
    """Logits of the image codes alone: no row of the vocabulary besides is multiplied."""
    cut = slice(image_offset, image_offset + image_codes)
    if model.config.tied:
        part = {**params, "embedding": params["embedding"][cut]}
    else:
        part = {**params, "head": params["head"][:, cut]}
    return model.unembed(part, hidden)


def _draw(
    logits: Float[Array, "B N C"], temperature: float, key: PRNGKeyArray, step: Int[Array, ""]
) -> tuple[Int[Array, "B N"], Float[Array, "B N"]]:
    """A code for every slot, and Gumbel noise, by keys of row and step."""

    def draw_row(row: Array, row_logits: Array) -> tuple[Array, Array]:
        code_key, choice_key = jax.random.split(
            jax.random.fold_in(jax.random.fold_in(key, row), step)
        )
        noise = jax.random.gumbel(choice_key, row_logits.shape[:1])
        if temperature == 0:
            return jnp.argmax(row_logits, axis=-1), noise
        return jax.random.categorical(code_key, row_logits / temperature), noise

    codes, noise = jax.vmap(draw_row)(jnp.arange(logits.shape[0]), logits)
    return codes.astype(jnp.int32), noise


def masked_again(
    log_probabilities: Float[Array, "B N"],
    unknown: Bool[Array, "B N"],
    noise: Float[Array, "B N"],
    temperature: Float[Array, ""] | float,
    scheduled: Int[Array, " B"],
) -> Bool[Array, "B N"]:
    """The m least confident unknown tokens, m = max(1, min(unknown - 1, scheduled)).

    Confidence is log p + temperature x Gumbel noise; known tokens are never masked.
    """
    confidence = jnp.where(unknown, log_probabilities + temperature * noise, jnp.inf)
    count = jnp.maximum(1, jnp.minimum(jnp.sum(unknown, axis=1) - 1, scheduled))
    count = jnp.minimum(count, unknown.shape[1] - 1)
    cut = jnp.take_along_axis(jnp.sort(confidence, axis=1), count[:, None], axis=1)
    return (confidence < cut) & unknown


def _keep(
    canvas: Canvas,
    logits: Float[Array, "B N C"],
    drawn: Int[Array, "B N"],
    noise: Float[Array, "B N"],
    step: Step,
    scheduled: Int[Array, " B"],
    last: Bool[Array, ""],
) -> Canvas:
    """The canvas with the most confident drawn tokens on it; all of them in the last step."""
    unknown = canvas.codes < 0
    chosen = jnp.take_along_axis(logits, drawn[..., None], axis=-1)[..., 0]
    log_probabilities = chosen - jax.nn.logsumexp(logits, axis=-1)
    again = masked_again(log_probabilities, unknown, noise, step.temperature, scheduled)
    kept = unknown & (~again | last)
    return Canvas(
        jnp.where(kept, drawn, canvas.codes),
        jnp.where(kept, log_probabilities, canvas.log_probabilities),
        jnp.where(kept, step.number, canvas.order),
    )

"""Text from a masked diffusion model, in one jitted call."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.canvas import blocks_of, check_prompts, lay_out
from jaxreason.sampling.diffusion.config import TextDiffusionConfig, check_model
from jaxreason.sampling.diffusion.decoding import Filled, Ids, fill_in
from jaxreason.types import Batch, Completions, Params, Sampler


def diffusion_text(
    model: Transformer,
    config: TextDiffusionConfig,
    *,
    mask_id: int,
    eos: int | None,
    pad: int,
    eot: int | None = None,
    samples: int = 1,
) -> Sampler:
    """A sampler that appends masked tokens to a prompt and fills them in, block after block.

    The algorithm is LLaDA's (Nie et al. 2025; github.com/ML-GSAI/LLaDA, generate.py), with
    Fast-dLLM's threshold and caches (Wu et al. 2025) as options.

    The sampler takes prompts `{tokens [B, P], lengths [B]}` (int32, right-padded) and returns
    `Completions` of `B * samples` rows with `order` and `steps`, the samples of a prompt next to
    each other; `order` also tells of padding after the end token that the model wrote itself. A
    row's result depends on its own prompt, its index and the key, not on the other rows nor on the
    padding. `log_probabilities` are those of the tokens when they were kept, after
    guidance and without the ids that are never generated. `steps` counts the denoising steps in
    which the row had masked tokens; with guidance each runs both branches.

    Args:
        model: bidirectional, or block-causal with blocks of `config.block` counted from the
            prompt's start (block diffusion).
        config: how tokens are filled in.
        mask_id: id of a masked token.
        eos: id that ends a row; None if none does.
        pad: id written after the end; may equal `eos`.
        eot: end-of-turn id, which ends a row too; None if there is none.
        samples: completions per prompt.

    Raises:
        InputError: an argument out of range; from the sampler, prompts of a wrong shape or with
            ids that the model does not have.
    """
    check_model(model, config, mask_id=mask_id, eos=eos, eot=eot, pad=pad)
    if samples < 1:
        raise InputError(f"samples is {samples}; it must be at least 1")
    if (config.ban_eos or config.defer_eos) and eos is None:
        raise InputError("ban_eos and defer_eos speak of an end token, and eos is None")
    ids = Ids(mask_id, eos, eot)
    aligned = model.config.attention != "bidirectional"

    @jax.jit
    def decode(params: Params, prompts: Batch, key: PRNGKeyArray) -> Completions:
        repeated = {name: jnp.repeat(value, samples, axis=0) for name, value in prompts.items()}
        blocks = blocks_of(prompts["tokens"].shape[1], config.length, config.block_length, aligned)
        canvas, slots = lay_out(repeated, config.length, blocks, aligned, mask_id, pad)
        filled = fill_in(model, config, ids, blocks, params, canvas, key)
        return _completions(filled, slots, ids, pad)

    def sample(params: Params, prompts: Batch, key: PRNGKeyArray) -> Completions:
        check_prompts(prompts, mask_id, model.config.vocabulary_size)
        return decode(params, {name: prompts[name] for name in ("tokens", "lengths")}, key)

    return sample


def _completions(filled: Filled, slots: Int[Array, "R N"], ids: Ids, pad: int) -> Completions:
    """What was generated, up to and with the end token."""

    def generated(x: Array) -> Array:
        return jnp.take_along_axis(x, slots, axis=1)

    tokens = generated(filled.tokens)
    is_end = jnp.zeros(tokens.shape, bool)
    if ids.ends:
        is_end = jnp.isin(tokens, jnp.asarray(ids.ends))
    finished = jnp.any(is_end, axis=1)
    lengths = jnp.where(finished, jnp.argmax(is_end, axis=1) + 1, tokens.shape[1])
    real = jnp.arange(tokens.shape[1]) < lengths[:, None]
    # Padding that the model itself wrote (LLaDA fills up with end tokens) was seen while it wrote.
    order = generated(filled.order)
    last = jnp.max(jnp.where(real, order, -1), axis=1, keepdims=True)
    written = real | ((tokens == pad) & (order <= last))
    return Completions(
        tokens=jnp.where(real, tokens, pad),
        log_probabilities=jnp.where(real, generated(filled.log_probabilities), 0.0),
        lengths=lengths.astype(jnp.int32),
        finished=finished,
        order=jnp.where(written, order, -1),
        steps=filled.steps,
    )

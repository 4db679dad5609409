"""Autoregressive decoding with a key-value cache, in one jitted call."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Cache, Transformer
from jaxreason.sampling.diffusion.checks import readable
from jaxreason.sampling.truncation import truncate
from jaxreason.types import Batch, Completions, Params, Sampler

MOST_CACHE_SIZES, NEW_TOKENS_PER_SIZE = 4, 32
"""How often the cache grows; each size is a loop of its own to compile."""


class _State(NamedTuple):
    """What one decoding step hands to the next; R = prompts x samples rows.

    `token` is the last token sampled, not yet in the cache; `step` counts tokens sampled.
    """

    step: Int[Array, ""]
    token: Int[Array, " R"]
    done: Bool[Array, " R"]
    tokens: Int[Array, "R N"]
    log_probabilities: Float[Array, "R N"]
    cache: Cache


def autoregressive(
    model: Transformer,
    *,
    max_new_tokens: int,
    eos: int | Sequence[int],
    pad: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    samples: int = 1,
) -> Sampler:
    """A sampler that draws one token at a time until `eos` or the limit.

    The sampler takes prompts `{tokens [B, T], lengths [B]}` (int32, right-padded, each of at least
    one token) and returns `Completions` of `B * samples` rows, the samples of a prompt next to
    each other. A row's result depends on its own prompt, its index and the key, not on the other
    rows nor on the padding: its random numbers come from the key folded with row and step
    (with JAX's default, threefry keys).

    Args:
        model: a causal transformer.
        max_new_tokens: the limit, the end token included.
        eos: id that ends a row, or several of which any does.
        pad: id written after the end; of several ends it may be one, as in published chat models.
        temperature: divides the logits; 0 takes the most likely token (the first one of equals).
        top_k: sample among the k most likely tokens only.
        top_p: sample from the smallest set of tokens with at least this probability.
        samples: completions per prompt; the prompt is read once.

    Raises:
        InputError: an argument out of range; from the sampler, prompts of a wrong shape.
    """
    _check_arguments(model, max_new_tokens, eos, pad, temperature, top_k, top_p, samples)
    ends = (eos,) if isinstance(eos, int | np.integer) else tuple(eos)

    def is_end(tokens: Int[Array, "..."]) -> Bool[Array, "..."]:
        return functools.reduce(jnp.logical_or, [tokens == end for end in ends])

    choose = _chooser(temperature, top_k, top_p)

    @jax.jit
    def decode(params: Params, prompts: Batch, key: PRNGKeyArray) -> Completions:
        params = model.unstacked(params)
        lengths = jnp.repeat(prompts["lengths"], samples, axis=0)
        logits, cache = _prefill(model, params, prompts, samples)
        rows = lengths.shape[0]

        def record(state: _State, logits: Array) -> _State:
            token, log_probability = choose(logits, state.step, key)
            token = jnp.where(state.done, pad, token)
            log_probability = jnp.where(state.done, 0.0, log_probability)
            at = (0, state.step)
            return state._replace(
                step=state.step + 1,
                token=token,
                done=state.done | is_end(token),
                tokens=jax.lax.dynamic_update_slice(state.tokens, token[:, None], at),
                log_probabilities=jax.lax.dynamic_update_slice(
                    state.log_probabilities, log_probability[:, None], at
                ),
            )

        def unfinished(state: _State, limit: int) -> Bool[Array, ""]:
            return (state.step < limit) & ~jnp.all(state.done)

        def advance(state: _State) -> _State:
            positions = (lengths + state.step - 1)[:, None]
            hidden, cache = model.apply(
                params, state.token[:, None], positions, AttentionSpec(), state.cache
            )
            assert cache is not None
            return record(state._replace(cache=cache), model.unembed(params, hidden[:, 0]))

        state = _State(
            step=jnp.zeros((), jnp.int32),
            token=jnp.zeros((rows,), jnp.int32),
            done=jnp.zeros((rows,), bool),
            tokens=jnp.full((rows, max_new_tokens), pad, jnp.int32),
            log_probabilities=jnp.zeros((rows, max_new_tokens), jnp.float32),
            cache=cache,
        )
        state = record(state, logits)
        room = 0
        for limit in _limits(model, max_new_tokens):
            state = state._replace(cache=state.cache.grow(limit - 1 - room))
            state = jax.lax.while_loop(functools.partial(unfinished, limit=limit), advance, state)
            room = limit - 1
        # The padding after a row's end may look like ends, and comes after it.
        ended = is_end(state.tokens)
        finished = jnp.any(ended, axis=1)
        generated = jnp.where(finished, jnp.argmax(ended, axis=1) + 1, max_new_tokens)
        return Completions(
            state.tokens, state.log_probabilities, generated.astype(jnp.int32), finished
        )

    def sample(params: Params, prompts: Batch, key: PRNGKeyArray) -> Completions:
        _check_prompts(prompts)
        return decode(params, {name: prompts[name] for name in ("tokens", "lengths")}, key)

    return sample


def _chooser(
    temperature: float, top_k: int | None, top_p: float | None
) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """`(logits [R, V], step, key) -> tokens [R], their log-probabilities [R]`."""

    def choose(
        logits: Float[Array, "R V"], step: Int[Array, ""], key: PRNGKeyArray
    ) -> tuple[Int[Array, " R"], Float[Array, " R"]]:
        if temperature == 0:
            token = jnp.argmax(logits, axis=-1)
        else:
            kept = truncate(logits, temperature, top_k, top_p)
            rows = jnp.arange(logits.shape[0])

            def draw(row: Array, row_logits: Array) -> Array:
                row_key = jax.random.fold_in(jax.random.fold_in(key, row), step)
                return jax.random.categorical(row_key, row_logits)

            token = jax.vmap(draw)(rows, kept)
        chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
        return token.astype(jnp.int32), chosen - jax.nn.logsumexp(logits, axis=-1)

    return choose


def _prefill(
    model: Transformer, params: Params, prompts: Batch, samples: int
) -> tuple[Float[Array, "R V"], Cache]:
    """Read each prompt once; its next-token logits and full cache, repeated for its samples."""
    tokens, lengths = prompts["tokens"], prompts["lengths"]
    spec = AttentionSpec(lengths=lengths)
    hidden, cache = model.apply(params, tokens, None, spec, model.init_cache(*tokens.shape))
    assert cache is not None
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return jnp.repeat(model.unembed(params, last), samples, axis=0), cache.repeat(samples)


def _limits(model: Transformer, max_new_tokens: int) -> list[int]:
    """Numbers of tokens after which the cache grows, the last one all of them.

    A step reads the whole cache, empty slots too. Stacked layers' caches keep their size: two of
    them would have to be there at once to grow.
    """
    parts = min(MOST_CACHE_SIZES, max_new_tokens // NEW_TOKENS_PER_SIZE)
    if model.config.unroll < model.config.layers or parts < 2:
        return [max_new_tokens]
    return [-(-max_new_tokens * part // parts) for part in range(1, parts + 1)]


def _check_arguments(
    model: Transformer,
    max_new_tokens: int,
    eos: int | Sequence[int],
    pad: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    samples: int,
) -> None:
    vocabulary_size = model.config.vocabulary_size
    if model.config.attention != "causal":
        raise InputError(
            f"model.attention is {model.config.attention!r}; autoregressive sampling needs 'causal'"
        )
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    if samples < 1:
        raise InputError(f"samples is {samples}; it must be at least 1")
    ends = (eos,) if isinstance(eos, int | np.integer) else tuple(eos)
    if not ends:
        raise InputError("eos is empty; expected at least one id that ends a row")
    for name, value in (*(("eos", end) for end in ends), ("pad", pad)):
        if not 0 <= value < vocabulary_size:
            raise InputError(f"{name} is {value}; expected an id below {vocabulary_size}")
    if isinstance(eos, int | np.integer) and eos == pad:
        raise InputError(f"eos and pad are both {eos}; padding must differ from the end token")
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise InputError(f"temperature is {temperature}; it must be 0 (greedy) or above")
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1, or None for all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p}; it must lie in (0, 1], or be None for all tokens")


def _check_prompts(prompts: Batch) -> None:
    """Shapes always; lengths only if they are all here (not within a jitted function, nor partly
    with other processes).
    """
    for name in ("tokens", "lengths"):
        if name not in prompts:
            raise InputError(f"prompts have no {name!r}; expected tokens [B, T] and lengths [B]")
    tokens, lengths = prompts["tokens"], prompts["lengths"]
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1] or 0 in tokens.shape:
        raise InputError(
            f"prompts have tokens {tokens.shape} and lengths {lengths.shape}; "
            "expected tokens [B, T] and lengths [B], neither empty"
        )
    if not readable(lengths):
        return
    wrong = np.flatnonzero((np.asarray(lengths) < 1) | (np.asarray(lengths) > tokens.shape[1]))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(
            f"prompt {row} has length {int(lengths[row])}; expected 1 to {tokens.shape[1]}"
        )

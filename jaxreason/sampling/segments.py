"""Autoregressive decoding that pauses every few tokens, so that somebody can look at the texts.

`sampling.autoregressive` runs to the end in one call and stops at ids; texts that end an answer
("\\nQuestion:") can be spelled by many sequences of ids, so whether one has come is decided on the
host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models import AttentionSpec, Cache, Transformer
from jaxreason.sampling.truncation import truncate
from jaxreason.types import Batch, Params


class Segment(NamedTuple):
    """What there is after some tokens.

    Attributes:
        step: [] int32, tokens drawn so far.
        tokens: [B, N] int32, those tokens; 0 after a stop id and where nothing was drawn yet.
        done: [B] bool, rows that need no more; may be set between calls.
        lengths: [B] int32, tokens of the prompts.
        ids: [B] int32, of the rows, for their random numbers.
        token: [B] int32, the last one, not yet in the cache.
        cache: of prompt and tokens.
    """

    step: Int[Array, ""]
    tokens: Int[Array, "B N"]
    done: Bool[Array, " B"]
    lengths: Int[Array, " B"]
    ids: Int[Array, " B"]
    token: Int[Array, " B"]
    cache: Cache


Begin = Callable[[Params, Batch, PRNGKeyArray], Segment]
"""`(params, prompts, key) -> state`; prompts: `tokens [B, T]`, `lengths [B]`, `ids [B]`."""
Advance = Callable[[Params, Segment, PRNGKeyArray], Segment]
"""`(params, state, key) -> state`; the state given is used up."""
Choose = Callable[[Array, Array, Array, PRNGKeyArray], Array]


def segmented(
    model: Transformer,
    *,
    max_new_tokens: int,
    stops: Sequence[int],
    segment: int = 16,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> tuple[Begin, Advance]:
    """Two jitted functions: one that reads prompts and draws a token, one that draws some more.

    A row's tokens depend on its prompt, its id and the key, not on the other rows nor on padding.

    Args:
        model: a causal transformer.
        max_new_tokens: the limit, a stop id included.
        stops: ids that end a row.
        segment: tokens of a call, at most; fewer where all rows are done.
        temperature: divides the logits; 0 takes the most likely token.
        top_k: draw among the k most likely only.
        top_p: draw from the smallest set with at least this probability.

    Raises:
        InputError: an argument out of range.
    """
    if model.config.attention != "causal":
        raise InputError(f"model.attention is {model.config.attention!r}; expected 'causal'")
    if max_new_tokens < 1 or segment < 1 or not temperature >= 0:
        raise InputError(
            f"max_new_tokens {max_new_tokens} and segment {segment} must be at least 1, and "
            f"temperature {temperature} at least 0"
        )
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise InputError(f"top_k is {top_k} and top_p {top_p}; expected 1 or more, and (0, 1]")

    choose = _chooser(temperature, top_k, top_p)
    decoder = _Decoder(model, max_new_tokens, tuple(stops), segment, choose)
    return jax.jit(decoder.begin), jax.jit(decoder.advance, donate_argnums=1)


def _chooser(temperature: float, top_k: int | None, top_p: float | None) -> Choose:
    """`(logits [B, V], ids, step, key) -> tokens`; a row's draw is of its id, the step and key."""

    def choose(logits: Array, ids: Array, step: Array, key: PRNGKeyArray) -> Array:
        if temperature == 0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        kept = truncate(logits, temperature, top_k, top_p)

        def draw(row: Array, row_logits: Array) -> Array:
            row_key = jax.random.fold_in(jax.random.fold_in(key, row), step)
            return jax.random.categorical(row_key, row_logits)

        return jax.vmap(draw)(ids, kept).astype(jnp.int32)

    return choose


@dataclass(frozen=True)
class _Decoder:
    """What `segmented` compiles."""

    model: Transformer
    max_new_tokens: int
    stops: tuple[int, ...]
    segment: int
    choose: Choose

    def begin(self, params: Params, prompts: Batch, key: PRNGKeyArray) -> Segment:
        """Reads prompts and draws a token."""
        tokens, lengths = prompts["tokens"], prompts["lengths"]
        rows, width = tokens.shape
        cache = self.model.init_cache(rows, width + self.max_new_tokens - 1)
        spec = AttentionSpec(lengths=lengths)
        hidden, filled = self.model.apply(params, tokens, None, spec, cache)
        assert filled is not None
        last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
        state = Segment(
            jnp.zeros((), jnp.int32),
            jnp.zeros((rows, self.max_new_tokens), jnp.int32),
            jnp.zeros((rows,), bool),
            lengths,
            prompts["ids"],
            jnp.zeros((rows,), jnp.int32),
            filled,
        )
        return self._record(state, self.model.unembed(params, last), key)

    def advance(self, params: Params, state: Segment, key: PRNGKeyArray) -> Segment:
        """Draws some more tokens."""
        params = self.model.unstacked(params)
        end = jnp.minimum(state.step + self.segment, self.max_new_tokens)

        def unfinished(state: Segment) -> Any:
            return (state.step < end) & ~jnp.all(state.done)

        def one(state: Segment) -> Segment:
            positions = (state.lengths + state.step - 1)[:, None]
            hidden, cache = self.model.apply(
                params, state.token[:, None], positions, AttentionSpec(), state.cache
            )
            assert cache is not None
            logits = self.model.unembed(params, hidden[:, 0])
            return self._record(state._replace(cache=cache), logits, key)

        return jax.lax.while_loop(unfinished, one, state)

    def _record(self, state: Segment, logits: Array, key: PRNGKeyArray) -> Segment:
        """The state with the next token of every row that is not done."""
        token = jnp.where(state.done, 0, self.choose(logits, state.ids, state.step, key))
        stopped = state.done
        if self.stops:
            stopped = jnp.isin(token, jnp.asarray(self.stops, jnp.int32))
        return state._replace(
            step=state.step + 1,
            tokens=jax.lax.dynamic_update_slice(state.tokens, token[:, None], (0, state.step)),
            done=state.done | stopped,
            token=token,
        )

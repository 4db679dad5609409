"""The denoising loop: blocks one after the other, in each as many steps as it takes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.models import Cache, Transformer
from jaxreason.sampling.diffusion.branches import apart, together
from jaxreason.sampling.diffusion.caches import Call, Stage, Start, View, calls_of
from jaxreason.sampling.diffusion.canvas import Blocks, Canvas
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.remasking import least_confidence, propose
from jaxreason.sampling.diffusion.transfer import select, transfer_count
from jaxreason.types import Params


class Ids(NamedTuple):
    """Ids of the mask, of the end of a sequence and of a turn (None if there is none), and ids
    that are never written.
    """

    mask: int
    eos: int | None = None
    eot: int | None = None
    banned: tuple[int, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids after which a row says nothing."""
        return tuple(i for i in (self.eos, self.eot) if i is not None)


class Filled(NamedTuple):
    """A canvas as it is filled in.

    Attributes:
        tokens: [R, S] int32.
        log_probabilities: [R, S] float32, 0 where nothing was filled in.
        order: [R, S] int32, the row's step that filled the place in, from 0; -1 where none did.
        steps: [R] int32, steps in which the row had something to fill in.
        done: [R] bool, the row has its end token and nothing before it is masked.
    """

    tokens: Int[Array, "R S"]
    log_probabilities: Float[Array, "R S"]
    order: Int[Array, "R S"]
    steps: Int[Array, " R"]
    done: Bool[Array, " R"]


Carry = tuple[Int[Array, ""], Filled, Cache | None]
"""(index of a block or step, state, cache), as a loop hands them on."""

RunBlock = Callable[[Int[Array, ""], Filled, Cache | None], tuple[Filled, Cache | None]]
"""All steps of one block: `(index of the block, state, cache) -> (state, cache)`."""


def fill_in(
    model: Transformer,
    config: TextDiffusionConfig,
    ids: Ids,
    blocks: Blocks,
    params: Params,
    canvas: Canvas,
    key: PRNGKeyArray,
) -> Filled:
    """Fill the open places of a canvas; call it under jit.

    A row's random numbers come from the key folded with its index, the block and the step.

    Args:
        model: bidirectional or block-causal.
        config: how.
        ids: special ids.
        blocks: where the blocks lie.
        params: of the model.
        canvas: rows with open places.
        key: for temperature and random remasking.
    """
    calls = calls_of(model, config, blocks)
    if config.cache != "none":
        params = model.unstacked(params)
    # Padding that is seen is no padding.
    keys = jnp.ones_like(canvas.keys) if config.mask_mode == "full" else canvas.keys
    view = View(params, _branches(config, keys), _branches(config, canvas.positions))
    state = _unfilled(canvas)
    cache = calls.prepare(view, _branch_tokens(config, ids, canvas, state.tokens))

    def unfinished(state: Filled) -> Bool[Array, ""]:
        masked = canvas.open & (state.tokens == ids.mask)
        return jnp.any(masked & ~state.done[:, None])

    carry = (jnp.zeros((), jnp.int32), state, cache)
    for stage in calls.stages:
        run_block = _block_runner(model, config, ids, blocks, stage, view, canvas, key)

        def go_on(carry: Carry, end: int = stage.end) -> Bool[Array, ""]:
            return (carry[0] < end) & unfinished(carry[1])

        def advance(carry: Carry, run_block: RunBlock = run_block) -> Carry:
            index, state, cache = carry
            if config.cache not in ("prefix", "dual"):
                return (index + 1, *run_block(index, state, cache))
            # The first call of a block runs everything again: not for a block that needs nothing.
            masked = canvas.open & (state.tokens == ids.mask) & ~state.done[:, None]
            start = blocks.first + index * blocks.length
            wanted = jnp.any(_cut(masked, start, blocks.length))
            found = jax.lax.cond(wanted, run_block, lambda _, *rest: rest, index, state, cache)
            return (index + 1, *found)

        carry = jax.lax.while_loop(go_on, advance, carry)
    return carry[1]


def _unfilled(canvas: Canvas) -> Filled:
    """The canvas before the first step."""
    rows = canvas.tokens.shape[0]
    return Filled(
        tokens=canvas.tokens,
        log_probabilities=jnp.zeros(canvas.tokens.shape, jnp.float32),
        order=jnp.full(canvas.tokens.shape, -1, jnp.int32),
        steps=jnp.zeros((rows,), jnp.int32),
        done=jnp.zeros((rows,), bool),
    )


def _block_runner(
    model: Transformer,
    config: TextDiffusionConfig,
    ids: Ids,
    blocks: Blocks,
    stage: Stage,
    view: View,
    canvas: Canvas,
    key: PRNGKeyArray,
) -> RunBlock:
    """How the blocks of a stage are run."""
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(canvas.tokens.shape[0]))
    limit = config.block_steps

    def run_block(index: Array, state: Filled, cache: Cache | None) -> tuple[Filled, Cache | None]:
        start = blocks.first + index * blocks.length
        open_places = _cut(canvas.open, start, blocks.length)

        def eligible(state: Filled) -> Bool[Array, "R b"]:
            masked = _cut(state.tokens, start, blocks.length) == ids.mask
            return open_places & masked & ~state.done[:, None]

        masked_at_first = eligible(state).sum(axis=1)

        def call(
            way: Call, step: Array, state: Filled, cache: Cache | None
        ) -> tuple[Filled, Cache | None]:
            tokens = _branch_tokens(config, ids, canvas, state.tokens)
            hidden, cache = way(view, tokens, start, cache)
            logits = _guided(config, model.unembed(view.params, hidden))
            fold = jax.vmap(jax.random.fold_in, (0, None))
            keys = fold(row_keys, index * blocks.length + step)
            count = transfer_count(masked_at_first, limit, step)
            state = _keep(config, ids, state, logits, keys, eligible(state), count, start)
            if config.stop_early and ids.ends:
                done = _ended(ids, _cut(state.tokens, start, blocks.length), open_places)
                state = state._replace(done=state.done | done)
            return state, cache

        step = jnp.zeros((), jnp.int32)
        if stage.begin is not None:
            state, cache = call(stage.begin, step, state, cache)
            step = step + 1

        def go_on(carry: Carry) -> Bool[Array, ""]:
            return (carry[0] < limit) & jnp.any(eligible(carry[1]))

        def advance(carry: Carry) -> Carry:
            step, state, cache = carry
            state, cache = call(stage.again, step, state, cache)
            return step + 1, state, cache

        _, state, cache = jax.lax.while_loop(go_on, advance, (step, state, cache))
        return state, cache

    return run_block


def _keep(
    config: TextDiffusionConfig,
    ids: Ids,
    state: Filled,
    logits: Float[Array, "R b V"],
    keys: PRNGKeyArray,
    eligible: Bool[Array, "R b"],
    count: Int[Array, " R"],
    start: Start,
) -> Filled:
    """Write the tokens that this step keeps."""
    banned = (*ids.banned, ids.mask) if config.suppress_mask else ids.banned
    if config.ban_eos and ids.eos is not None:
        banned = (*banned, ids.eos)
    proposal = propose(logits, config, keys, banned, ids.ends if config.defer_eos else ())
    most = -(-eligible.shape[1] // config.block_steps)
    kept = select(proposal.confidence, eligible, count, most, least_confidence(config))

    def write(x: Array, new: Array) -> Array:
        new = jnp.where(kept, new, _cut(x, start, kept.shape[1]))
        return jax.lax.dynamic_update_slice_in_dim(x, new, start, axis=1)

    return state._replace(
        tokens=write(state.tokens, proposal.token),
        log_probabilities=write(state.log_probabilities, proposal.log_probability),
        order=write(state.order, state.steps[:, None]),
        steps=state.steps + jnp.any(eligible, axis=1),
    )


def _ended(
    ids: Ids, tokens: Int[Array, "R b"], open_places: Bool[Array, "R b"]
) -> Bool[Array, " R"]:
    """The block has an end token with nothing masked before it: what follows is cut off anyway."""
    settled = jnp.cumsum(open_places & (tokens == ids.mask), axis=1) == 0
    return jnp.any(open_places & settled & jnp.isin(tokens, jnp.asarray(ids.ends)), axis=1)


def _branches(config: TextDiffusionConfig, x: Array) -> Array:
    return together(x, x) if config.guidance > 0 else x


def _branch_tokens(
    config: TextDiffusionConfig, ids: Ids, canvas: Canvas, tokens: Int[Array, "R S"]
) -> Int[Array, "R S"]:
    """With guidance, beside each row the same one with its given tokens masked."""
    if config.guidance == 0:
        return tokens
    return together(tokens, jnp.where(canvas.open, tokens, ids.mask))


def _guided(config: TextDiffusionConfig, logits: Float[Array, "R b V"]) -> Float[Array, "R b V"]:
    if config.guidance == 0:
        return logits
    conditional, unconditional = apart(logits)
    return unconditional + (config.guidance + 1) * (conditional - unconditional)


def _cut(x: Array, start: Start, length: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, length, axis=1)

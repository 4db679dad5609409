"""A tiny model, prompts of text of different lengths with their unconditional twins, and the
reference algorithm as a plain loop over rows, steps and tokens.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.models.attention import AttentionSpec
from jaxreason.models.transformer import Transformer, TransformerConfig

TEXT, TOKENS, OFFSET, CODES, SIZE = 5, 6, 11, 7, 20
PAD, TASK, BOS, EOS, SOI, EOI, MASK = 0, 1, 2, 3, 4, 5, 19
IDS = {"image_offset": OFFSET, "image_codes": CODES, "mask_id": MASK}
FIRST = TEXT + 2  # index of the first image slot
MODEL = Transformer(
    TransformerConfig(
        vocabulary_size=SIZE,
        layers=1,
        width=16,
        heads=2,
        kv_heads=2,
        head_size=8,
        mlp_width=16,
        tied=False,
        attention="bidirectional",
    )
)


def params(seed=0):
    """Weights large enough that what a token sees changes its logits."""
    tree = MODEL.init(jax.random.key(seed))
    tree["embedding"] = tree["embedding"] * 50
    tree["head"] = tree["head"] * 3
    return tree


def row(text, image):
    """`PAD* TASK BOS text EOS | SOI image EOI` and which of it is real."""
    prompt = [TASK, BOS, *text, EOS]
    padding = TEXT + 1 - len(prompt)
    return (
        np.array([PAD] * padding + prompt + [SOI, *image, EOI], np.int32),
        np.arange(TEXT + TOKENS + 3) >= padding,
    )


def prompts(texts, known=None):
    """One row per text; `known` [B, N] holds codes, -1 where masked."""
    known = np.full((len(texts), TOKENS), -1) if known is None else np.asarray(known)
    ids = np.where(known < 0, MASK, known + OFFSET)
    rows = [row(text, image) for text, image in zip(texts, ids, strict=True)]
    twins = [row([], [MASK] * TOKENS) for _ in texts]
    image = np.zeros((len(texts), TEXT + TOKENS + 3), bool)
    image[:, FIRST : FIRST + TOKENS] = True
    return {
        "tokens": np.stack([tokens for tokens, _ in rows]),
        "keys": np.stack([keys for _, keys in rows]),
        "image": image,
        "unconditional_tokens": np.stack([tokens for tokens, _ in twins]),
        "unconditional_keys": np.stack([keys for _, keys in twins]),
    }


@functools.partial(jax.jit, static_argnums=3)
def _all_logits(params, tokens, keys, mask_mode):
    spec = AttentionSpec("bidirectional", keys=keys, mask_mode=mask_mode)
    hidden, _ = MODEL.apply(params, tokens, None, spec)
    return MODEL.unembed(params, hidden)


def without_chance(row, step, logits):
    """The most likely codes, and no noise in which of them stay."""
    return logits.argmax(axis=1), 0.0


def reference(
    params,
    batch,
    steps,
    guidance,
    twin_sees_picture=True,
    mask_mode="bool",
    draw=without_chance,
):
    """MMaDA's loop, its chance in `draw(row, step, logits) -> codes, noise` of each place.

    Returns codes, log-probabilities and the step of each, [B, N].
    """
    results = []
    for b in range(len(batch["tokens"])):
        tokens, twin = batch["tokens"][b].copy(), batch["unconditional_tokens"][b].copy()
        slots = np.flatnonzero(batch["image"][b])
        order, kept = np.full(TOKENS, -1), np.zeros(TOKENS)
        for step in range(steps):
            if twin_sees_picture:
                twin[slots] = tokens[slots]
            keys = jnp.stack([batch["keys"][b], batch["unconditional_keys"][b]])
            both = np.asarray(_all_logits(params, jnp.stack([tokens, twin]), keys, mask_mode))
            both = both.astype(np.float64)
            guided = (1 + guidance) * both[0] - guidance * both[1]
            logits = guided[slots, OFFSET : OFFSET + CODES]
            logps = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            unknown = tokens[slots] == MASK
            drawn, noise = draw(b, step, logits)
            drawn_logps = np.take_along_axis(logps, drawn[:, None], axis=1)[:, 0]
            confidence = np.where(unknown, drawn_logps + noise, np.inf)
            share = np.cos(np.pi / 2 * (step + 1) / steps)
            masked = max(1, min(unknown.sum() - 1, int(TOKENS * share)))
            lowest = np.argsort(confidence)[:masked] if step < steps - 1 else []
            for i in np.flatnonzero(unknown):
                if i not in lowest:
                    tokens[slots[i]], order[i] = drawn[i] + OFFSET, step
                    kept[i] = drawn_logps[i]
        results.append((tokens[slots] - OFFSET, kept, order))
    return tuple(np.stack(part) for part in zip(*results, strict=True))

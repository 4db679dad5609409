"""A denoiser small enough to enumerate, and responses to noise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

WORDS = 6
MASK = 5


class Denoiser:
    """Stands in for a transformer: every place sees all tokens, each through its own distance."""

    def init(self, key, length=8):
        one, two = jax.random.split(key)
        return {
            "embedding": jax.random.normal(one, (WORDS, 12)),
            "mixing": jax.random.normal(two, (length, length)) / length**0.5,
            "head": jax.random.normal(key, (12, WORDS)),
        }

    def apply(self, params, tokens, positions=None, attention=None):
        seen = params["embedding"][tokens]
        if attention is not None and attention.keys is not None:
            seen = seen * attention.keys[..., None]
        return jnp.tanh(jnp.einsum("st,btd->bsd", params["mixing"], seen)), None

    def head(self, params):
        return {"head": params["head"]}

    def unembed(self, params, hidden):
        return hidden @ params["head"]


def responses(lengths=(3, 5, 4, 4), canvas=5, prompt=2, padding=1):
    """Rows of a prompt, a canvas with responses of these lengths, and padding, as numpy arrays."""
    rows, total = len(lengths), prompt + canvas + padding
    place = np.arange(total) - prompt
    tokens = np.random.default_rng(0).integers(0, MASK, (rows, total)).astype(np.int32)
    maskable = np.broadcast_to((place >= 0) & (place < canvas), (rows, total))
    counted = maskable & (place < np.array(lengths)[:, None])
    keys = np.broadcast_to(place < canvas, (rows, total))
    batch = {"tokens": tokens, "keys": keys, "maskable": maskable, "counted": counted}
    return {name: jnp.asarray(x) for name, x in batch.items()}


def conditional(params, tokens, hidden, keys=True):
    """log p of every token where the places in `hidden` are masked, by hand, in float64."""
    embedding, mixing, head = (np.float64(params[n]) for n in ("embedding", "mixing", "head"))
    row = np.array(tokens)
    row[list(hidden)] = MASK
    seen = embedding[row] * np.broadcast_to(keys, row.shape)[:, None]
    logits = np.tanh(mixing @ seen) @ head
    normalised = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return normalised[np.arange(len(row)), np.array(tokens)]


def orders(params, tokens, places):
    """[orders, places] log p of each place given all that an order reveals before it."""
    tables = {
        hidden: conditional(params, tokens, hidden)
        for size in range(1, len(places) + 1)
        for hidden in itertools.combinations(places, size)
    }
    found = []
    for order in itertools.permutations(places):
        row = {place: tables[tuple(sorted(order[i:]))][place] for i, place in enumerate(order)}
        found.append([row[place] for place in places])
    return np.array(found)

"""Models whose logits can be written down, and one rollout worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.objectives.algorithms import AlgorithmConfig

VOCABULARY = 5


class Table:
    """Stands in for a transformer: its parameters are the logits of every place."""

    def apply(self, params, tokens, positions, attention):
        return params["logits"], None

    def head(self, params):
        return {}

    def unembed(self, params, hidden):
        return hidden


class Bigram(Table):
    """The logits depend on the token before, so that rows may be split and moved."""

    def init(self, key):
        return {"embedding": jax.random.normal(key, (VOCABULARY, VOCABULARY))}

    def apply(self, params, tokens, positions, attention):
        return params["embedding"][tokens], None


def algorithm(**changes):
    """Clipped surrogate, mean over tokens, no KL; `changes` are fields."""
    fields = {
        "advantage": "grpo",
        "surrogate": "clip",
        "aggregation": "token_mean",
        "standard_deviation": "group",
        "kl_estimator": "k3",
        "kl_placement": "none",
    }
    if changes.get("advantage", "grpo") != "grpo":
        fields["standard_deviation"] = "none"
    return AlgorithmConfig(**{**fields, **changes})


def padded(rows, length=4, fill=0.0):
    """Ragged numbers after one prompt token: [rows, 1 + length]."""
    return np.array([[fill, *row] + [fill] * (length - len(row)) for row in rows])


def table_of(log_probabilities, tokens):
    """Parameters of `Table` that give each token its log-probability."""
    chosen = np.exp(np.roll(log_probabilities, -1, axis=1))[..., None]
    logits = np.log(np.broadcast_to((1 - chosen) / (VOCABULARY - 1), (*tokens.shape, VOCABULARY)))
    logits = logits.copy()
    np.put_along_axis(logits, np.roll(tokens, -1, axis=1)[..., None], np.log(chosen), axis=-1)
    return {"logits": jnp.asarray(logits)}


LENGTHS = (4, 2)
NEW = padded([[-1, -0.5, -2, -0.1], [-0.7, -1.2]], fill=-1.0)
OLD = padded([[-1.2, -0.5, -1.5, -0.1], [-0.7, -1]])
REFERENCE = padded([[-1.1, -0.6, -1.9, -0.2], [-0.8, -1.1]])
ADVANTAGES = padded([[1, 1, 1, 1], [-0.5, -0.5]])
MASK = padded([[1] * 4, [1] * 2]).astype(bool)
TOKENS = np.array([[0, 1, 2, 3, 4], [0, 4, 3, 0, 0]], np.int32)


def rollout_batch(**changes):
    """The two completions above, of 4 and 2 tokens, each after one prompt token."""
    segments = padded([[1] * 4, [1] * 2], fill=0).astype(np.int32)
    segments[:, 0] = 1
    batch = {
        "tokens": TOKENS,
        "targets_mask": MASK,
        "segments": segments,
        "positions": np.tile(np.arange(5, dtype=np.int32), (2, 1)),
        "advantages": ADVANTAGES,
        "old_log_probabilities": OLD,
        "reference_log_probabilities": REFERENCE,
    }
    return {name: jnp.asarray(x) for name, x in {**batch, **changes}.items() if x is not None}


def drawn_batch(rows=8, length=6, seed=0):
    """Random rows of 1 to 4 completion tokens; every fourth has none at all."""
    random = np.random.default_rng(seed)
    lengths = np.where(np.arange(rows) % 4 == 3, 0, random.integers(1, 5, rows))[:, None]
    at = np.arange(length)
    normal = random.normal(0, 0.4, (3, rows, length)).astype(np.float32)
    return {
        "tokens": random.integers(0, VOCABULARY, (rows, length)).astype(np.int32),
        "targets_mask": (at >= 2) & (at < 2 + lengths),
        "segments": (at < 2 + lengths).astype(np.int32),
        "positions": np.tile(at.astype(np.int32), (rows, 1)),
        "advantages": 2 * normal[0],
        "old_log_probabilities": normal[1] - 2,
        "reference_log_probabilities": normal[2] - 2,
    }

"""A value model: a transformer's trunk and one number per token."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxreason.models.attention import AttentionSpec
from jaxreason.models.transformer import Transformer, TransformerConfig
from jaxreason.types import Batch, Params


@dataclass(frozen=True)
class Critic:
    """Expected return before each token, as a pure function of its parameters.

    Parameters: `{trunk: the transformer's without its output head, value_head [D]}`. The head
    starts at zero, so that the first values are 0 whatever the trunk. The transformer's partition
    rules lay them out.

    Attributes:
        config: shape and numerics of the trunk; a causal transformer.
    """

    config: TransformerConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """A trunk of its own, random, and a zero head."""
        return self._with_head(Transformer(self.config).init(key))

    def from_policy(self, params: Params) -> Params:
        """The trunk of a policy of the same config, copied, and a zero head."""
        return self._with_head(jax.tree.map(jnp.copy, dict(params)))

    def values(self, params: Params, batch: Batch) -> Float[Array, "B T"]:
        """Values in float32; entry t is the value before `tokens[:, t]` is written.

        It is read off the state at t - 1; entry 0, which has nothing before it, is 0.

        Batch: `tokens`, `segments`, `positions`, each [B, T].
        """
        spec = AttentionSpec(kind="causal", segments=batch["segments"])
        model = Transformer(self.config)
        hidden, _ = model.apply(params["trunk"], batch["tokens"], batch["positions"], spec)
        head = params["value_head"]
        values = jnp.sum(hidden.astype(head.dtype) * head, axis=-1)
        return jnp.roll(values, 1, axis=1).at[:, 0].set(0.0)

    def _with_head(self, transformer: Params) -> Params:
        trunk = {name: leaf for name, leaf in transformer.items() if name != "head"}
        return {"trunk": trunk, "value_head": jnp.zeros(self.config.width, jnp.float32)}

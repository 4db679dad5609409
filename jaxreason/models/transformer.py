"""One transformer for every experiment: RMSNorm, RoPE, SwiGLU, grouped-query attention.

The same shape as Llama, Mistral, Qwen2 and Qwen3, which differ in biases, norms of queries and
keys, sliding windows and rotary frequencies; causal or bidirectional. Parameters are nested dicts;
the layers are stacked on axis 0 and scanned over, so compile time does not grow with depth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.attention import AttentionSpec
from jaxreason.models.backends import attend_either, attend_fn, choose
from jaxreason.models.block import Block, rms_norm
from jaxreason.models.cache import Cache, empty_cache, layer_of, run_cached
from jaxreason.models.config import TransformerConfig
from jaxreason.models.lora import base_constant
from jaxreason.models.rope import rope_angles
from jaxreason.models.splash import unsplittable
from jaxreason.sharding.mesh import BATCH_AXES, ambient_platform, constrain
from jaxreason.types import Params

__all__ = ["Cache", "Transformer", "TransformerConfig"]


_POLICIES: dict[str, Any] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "names": jax.checkpoint_policies.save_only_these_names(
        "query", "key", "value", "attended", "gate", "up"
    ),
    "full": None,
}


@dataclass(frozen=True)
class Transformer:
    """A transformer as pure functions of its parameters.

    Attributes:
        config: shape and numerics.
    """

    config: TransformerConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """Random float32 parameters: `{embedding, layers, final_norm[, head]}`.

        Matrices are normal with deviation 1/sqrt(inputs), those that write into the residual
        stream divided by sqrt(2 layers) (GPT-2); the embedding has deviation 0.02.
        """
        c = self.config
        if c.vocabulary_size < 1:
            raise InputError(f"model.vocabulary_size is {c.vocabulary_size}; it must be at least 1")
        embedding_key, layers_key, head_key = jax.random.split(key, 3)
        x = jnp.zeros((1, 1, c.width))
        angles = jnp.zeros((1, 1, 1, c.head_size // 2))

        def init_block(block_key: PRNGKeyArray) -> Params:
            variables = Block(c).init(block_key, x, angles, angles, lambda q, k, v: (q, None))
            return variables["params"]

        params = {
            "embedding": 0.02 * jax.random.normal(embedding_key, (c.vocabulary_size, c.width)),
            "layers": jax.vmap(init_block)(jax.random.split(layers_key, c.layers)),
            "final_norm": jnp.ones((c.width,)),
        }
        if not c.tied:
            shape = (c.width, c.vocabulary_size)
            params["head"] = c.width**-0.5 * jax.random.normal(head_key, shape)
        return params

    def init_cache(self, batch: int, capacity: int) -> Cache:
        """An empty cache for `batch` rows of up to `capacity` tokens."""
        return empty_cache(self.config, batch, capacity)

    def unstacked(self, params: Params) -> Params:
        """The same parameters for `apply` with a cache, those of unrolled layers one by one.

        A loop that calls `apply` many times holds these: out of stacked ones the compiler would
        cut, and so copy, every layer at every turn.
        """
        c = self.config
        if c.unroll < c.layers:
            return params
        return {**params, "layers": tuple(layer_of(params["layers"], i) for i in range(c.layers))}

    def apply(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        attention: AttentionSpec | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Hidden states after the last norm, ready for `unembed`.

        Args:
            params: as `init` makes them.
            tokens: [B, T] int32.
            positions: [B, T] int32 for the rotary embedding; counts from 0 if None (in
                `block_diffusion`, from 0 in either half).
            attention: who sees whom; the config's kind without segments if None. With a cache it
                speaks of the new tokens: `lengths` and `keys` mark which of them are real.
            cache: keys and values of other tokens. The new ones are written from slot `filled`
                on, over what stands there, and see every valid slot that their kind lets them:
                with `bidirectional` any span may be computed afresh (`_replace(filled=slot)`).

        Returns:
            hidden [B, T, D] in the compute dtype, and the grown cache (None without one).

        Raises:
            InputError: the backend cannot run this attention; segments, `block_diffusion` or a mask
                mode other than `full` and `bool` with a cache; a model with a sliding window
                whose attention is not causal.
        """
        c, params = self.config, self._trained(params)
        spec = attention if attention is not None else AttentionSpec(kind=c.attention)
        if positions is None:
            positions = _counted(spec, tokens.shape)
        if spec.window or (c.window and spec.kind != "causal"):
            raise InputError(
                f"model.window is {c.window} and the attention {spec.kind!r} with window "
                f"{spec.window}; the model's window is the one that counts, over 'causal' attention"
            )
        cosine, sine = rope_angles(positions, c.head_size, c.rope_base, c.rope_scaling)
        # Its rows may be spread over the batch axes too; they are gathered for the lookup.
        table = constrain(params["embedding"], "tensor", None)
        x = _lay_out(jnp.take(table, tokens, axis=0).astype(c.dtype))
        if cache is None:
            # A window that reaches over the whole row is none.
            windows = [0 if window >= tokens.shape[1] else window for window in c.windows]
            self_attend = _self_attention(c, spec, windows, *tokens.shape)

            def run_block(x: Array, layer: Params, has_window: Array | None) -> tuple[Array, None]:
                def attend_only(q: Array, k: Array, v: Array) -> tuple[Array, None]:
                    return self_attend(q, k, v, has_window), None

                block: Any = Block(c).apply({"params": layer}, x, cosine, sine, attend_only)
                return _lay_out(block[0]), None

            if c.remat != "none":
                run_block = jax.checkpoint(run_block, policy=_POLICIES[c.remat], prevent_cse=False)
            mixed = len(set(windows)) > 1
            xs = params["layers"], jnp.asarray(windows) > 0 if mixed else None
            x, _ = jax.lax.scan(lambda x, xs: run_block(x, *xs), x, xs, unroll=c.unroll)
        else:
            x, cache = run_cached(c, params["layers"], x, cosine, sine, spec, cache)
        return rms_norm(x, params["final_norm"], c.norm_epsilon), cache

    def head(self, params: Params) -> Params:
        """The part of the parameters that `unembed` reads."""
        name = "embedding" if self.config.tied else "head"
        return self._trained({name: params[name]})

    def _trained(self, params: Params) -> Params:
        """With LoRA all else is a constant, so that no gradient of it is computed."""
        return params if self.config.lora is None else base_constant(params)

    def unembed(self, params: Params, hidden: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """Logits in float32."""
        c, params = self.config, self._trained(params)
        table = params["embedding"].T if c.tied else params["head"]
        return jnp.matmul(hidden, table.astype(c.dtype), preferred_element_type=jnp.float32)


def _counted(spec: AttentionSpec, shape: tuple[int, ...]) -> Int[Array, "B T"]:
    """Positions from 0 on, in block diffusion from 0 in either half."""
    count = jnp.arange(shape[1])
    if spec.kind == "block_diffusion":
        count = count % (shape[1] // 2)
    return jnp.broadcast_to(count, shape)


def _self_attention(
    c: TransformerConfig, spec: AttentionSpec, windows: list[int], rows: int, length: int
) -> Callable[[Array, Array, Array, Array | None], Array]:
    """`(query, key, value, has_window) -> attended`; the last is None if all layers are alike."""
    platform, unsplit = ambient_platform(), unsplittable(rows, c.heads, c.kv_heads)

    def backend_of(spec: AttentionSpec) -> str:
        return choose(c.backend, spec, length, c.head_size, c.dtype, platform, unsplit)

    if len(kinds := sorted(set(windows))) == 1:
        spec = replace(spec, window=kinds[0])
        attend = attend_fn(backend_of(spec), spec, length)
        return lambda query, key, value, has_window: attend(query, key, value)
    backends = backend_of(spec), backend_of(replace(spec, window=kinds[1]))
    return attend_either(backends, spec, kinds[1], length)


def _lay_out(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """The residual stream is split as the batch is: left to itself, the compiler may take over the
    layout of a weight's features and then has to replicate everything to get back.
    """
    return constrain(x, BATCH_AXES, "sequence", None)

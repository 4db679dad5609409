"""CLIP: texts and pictures in one space (Radford et al. 2021), as transformers' `CLIPModel`.

Two pre-norm transformers with biases and LayerNorm: a causal one over text, read at the end token,
and a bidirectional one over patches, read at the class token. Parameters are nested dicts; the
layers of a tower are stacked on axis 0 and scanned over. Pictures are channels last.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.attention import attend
from jaxreason.models.clip_config import ClipConfig, TowerConfig
from jaxreason.types import Params


def layer_norm(
    x: Float[Array, "... D"], scale: Float[Array, " D"], bias: Float[Array, " D"], epsilon: float
) -> Float[Array, "... D"]:
    """LayerNorm (Ba et al. 2016)."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + epsilon) * scale + bias


class ClipBlock(nn.Module):
    """Pre-norm attention and MLP, each added to the residual stream."""

    tower: TowerConfig
    activation: str
    epsilon: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], mask: Bool[Array, "1 T T"]
    ) -> Float[Array, "B T D"]:
        """The new residual stream; `mask` is True where query t may see key s."""
        c = self.tower
        heads, size = c.heads, c.width // c.heads
        deviation = c.width**-0.5

        def weight(name: str, *shape: int, scale: float = deviation) -> Array:
            return self.param(name, nn.initializers.normal(scale), shape, jnp.float32)

        def bias(name: str, *shape: int) -> Array:
            return self.param(f"{name}_bias", nn.initializers.zeros, shape, jnp.float32)

        def norm(name: str, source: Array) -> Array:
            scale = self.param(name, nn.initializers.ones, (c.width,), jnp.float32)
            return layer_norm(source, scale, bias(name, c.width), self.epsilon)

        def heads_of(name: str, source: Array) -> Array:
            projected = jnp.einsum("btd,dhk->bhtk", source, weight(name, c.width, heads, size))
            return projected + bias(name, heads, size)[:, None]

        y = norm("attention_norm", x)
        attended = attend(heads_of("query", y), heads_of("key", y), heads_of("value", y), mask)
        out = deviation * (2 * c.layers) ** -0.5
        kernel = weight("output", heads, size, c.width, scale=out)
        x = x + jnp.einsum("bhtk,hkd->btd", attended, kernel) + bias("output", c.width)
        y = norm("mlp_norm", x)
        y = y @ weight("up", c.width, c.mlp_width) + bias("up", c.mlp_width)
        quick = self.activation == "quick_gelu"
        y = y * jax.nn.sigmoid(1.702 * y) if quick else jax.nn.gelu(y, approximate=False)
        down = weight("down", c.mlp_width, c.width, scale=out * (c.width / c.mlp_width) ** 0.5)
        return x + y @ down + bias("down", c.width)


@dataclass(frozen=True)
class Clip:
    """CLIP as pure functions of its parameters.

    Attributes:
        config: shape and numerics.
    """

    config: ClipConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """Random float32 parameters: `{text, vision, text_projection, image_projection,
        logit_scale}`, with the paper's deviations up to constants; logit_scale is log(1 / 0.07).
        """
        c = self.config
        keys = iter(jax.random.split(key, 9))

        def normal(shape: tuple[int, ...], deviation: float) -> Array:
            return deviation * jax.random.normal(next(keys), shape)

        def norm(width: int) -> dict[str, Array]:
            return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

        t, v, patch = c.text, c.vision, c.patch_size
        return {
            "text": {
                "embedding": normal((c.vocabulary_size, t.width), 0.02),
                "positions": normal((c.text_length, t.width), 0.01),
                "layers": self._init_layers(t, next(keys)),
                "final_norm": norm(t.width),
            },
            "vision": {
                "class_embedding": normal((v.width,), v.width**-0.5),
                "patch": normal((patch, patch, 3, v.width), (3 * patch * patch) ** -0.5),
                "positions": normal((c.patches + 1, v.width), v.width**-0.5),
                "first_norm": norm(v.width),
                "layers": self._init_layers(v, next(keys)),
                "final_norm": norm(v.width),
            },
            "text_projection": normal((t.width, c.projection), t.width**-0.5),
            "image_projection": normal((v.width, c.projection), v.width**-0.5),
            "logit_scale": jnp.log(jnp.float32(1 / 0.07)),
        }

    def text_features(self, params: Params, tokens: Int[Array, "B T"]) -> Float[Array, "B P"]:
        """Texts in the common space, not normalised.

        Args:
            params: as `init` makes them.
            tokens: [B, T] int32, T up to `text_length`; what follows the end token is not seen.

        Raises:
            InputError: more tokens than the model has positions for.
        """
        c, text = self.config, params["text"]
        length = tokens.shape[1]
        if length > c.text_length:
            raise InputError(f"texts have {length} tokens; the model takes up to {c.text_length}")
        x = jnp.take(text["embedding"], tokens, axis=0) + text["positions"][:length]
        x = self._run(c.text, text["layers"], x, jnp.tril(jnp.ones((1, length, length), bool)))
        end = jnp.argmax(tokens if c.end_token is None else tokens == c.end_token, axis=1)
        x = jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0]
        return (
            layer_norm(x, **text["final_norm"], epsilon=c.norm_epsilon) @ params["text_projection"]
        )

    def image_features(
        self, params: Params, pixels: Float[Array, "B Y X 3"]
    ) -> Float[Array, "B P"]:
        """Pictures in the common space, not normalised.

        Args:
            params: as `init` makes them.
            pixels: [B, image_size, image_size, 3] float32, normalised as `clip_pixels` does.

        Raises:
            InputError: pictures of another size.
        """
        c, vision = self.config, params["vision"]
        if pixels.shape[1:] != (c.image_size, c.image_size, 3):
            raise InputError(
                f"pictures have shape {pixels.shape}; expected "
                f"[B, {c.image_size}, {c.image_size}, 3]"
            )
        side, patch = c.image_size // c.patch_size, c.patch_size
        patches = pixels.reshape(-1, side, patch, side, patch, 3)
        x = jnp.einsum("byrxsc,srcd->byxd", patches, vision["patch"])
        x = x.reshape(len(pixels), side * side, c.vision.width)
        first = jnp.broadcast_to(vision["class_embedding"], (len(pixels), 1, c.vision.width))
        x = jnp.concatenate([first.astype(x.dtype), x], axis=1) + vision["positions"]
        x = layer_norm(x, **vision["first_norm"], epsilon=c.norm_epsilon)
        x = self._run(c.vision, vision["layers"], x, jnp.ones((1, x.shape[1], x.shape[1]), bool))
        x = layer_norm(x[:, 0], **vision["final_norm"], epsilon=c.norm_epsilon)
        return x @ params["image_projection"]

    def similarity(
        self, texts: Float[Array, "... P"], images: Float[Array, "... P"]
    ) -> Float[Array, "..."]:
        """Cosine of the angle between features, pair by pair."""
        return jnp.sum(_unit(texts) * _unit(images), axis=-1)

    def logits(
        self, params: Params, texts: Float[Array, "A P"], images: Float[Array, "B P"]
    ) -> Float[Array, "B A"]:
        """Every picture against every text: cosines times exp(logit_scale)."""
        return jnp.exp(params["logit_scale"]) * _unit(images) @ _unit(texts).T

    def _init_layers(self, tower: TowerConfig, key: PRNGKeyArray) -> Params:
        block = self._block(tower)
        x, mask = jnp.zeros((1, 1, tower.width)), jnp.ones((1, 1, 1), bool)

        def init_block(block_key: PRNGKeyArray) -> Params:
            return block.init(block_key, x, mask)["params"]

        return jax.vmap(init_block)(jax.random.split(key, tower.layers))

    def _run(self, tower: TowerConfig, layers: Params, x: Array, mask: Array) -> Array:
        block = self._block(tower)

        def run_block(x: Array, layer: Params) -> tuple[Array, None]:
            result: Any = block.apply({"params": layer}, x, mask)
            return result, None

        return jax.lax.scan(run_block, x.astype(jnp.float32), layers)[0]

    def _block(self, tower: TowerConfig) -> ClipBlock:
        return ClipBlock(tower, self.config.activation, self.config.norm_epsilon)


def contrastive_loss(logits: Float[Array, "B B"]) -> Float[Array, ""]:
    """CLIP's loss: picture i belongs to text i, and the other way round (equation of figure 3)."""
    right = jnp.diagonal(logits)
    by_text = right - jax.nn.logsumexp(logits, axis=0)
    by_image = right - jax.nn.logsumexp(logits, axis=1)
    return -(jnp.mean(by_text) + jnp.mean(by_image)) / 2


def _unit(x: Float[Array, "... P"]) -> Float[Array, "... P"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

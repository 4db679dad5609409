"""ImageReward (Xu et al. 2023): BLIP (Li et al. 2022) as a judge of picture and text.

A vision transformer reads the picture; a BERT whose layers also attend to the picture reads the
text; the reward is read off the text's first token. Parameters are nested dicts with the layers of
a tower stacked on axis 0, `{vision, text, head}`. Pictures are channels last.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.attention import attend
from jaxreason.models.blip_config import ImageRewardConfig
from jaxreason.models.blip_names import image_reward_places
from jaxreason.models.clip import layer_norm
from jaxreason.models.places import by_leaf
from jaxreason.types import Params


@dataclass(frozen=True)
class ImageReward:
    """ImageReward as pure functions of its parameters.

    Attributes:
        config: shape and numerics.
    """

    config: ImageRewardConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """Random float32 parameters: matrices normal with deviation 0.02, scales 1, biases 0; the
        head as `RewardHead` starts it.
        """
        params: dict[str, Any] = {"head": self.config.head.init(jax.random.fold_in(key, 0))}
        leaves = by_leaf(image_reward_places(self.config))
        for number, (path, parts) in enumerate(leaves.items(), start=1):
            place = parts[0][1]
            shape = place.ours if place.layer is None else (len(parts), *place.ours)
            node = params
            for name in path[:-1]:
                node = node.setdefault(name, {})
            if path[-1].endswith("scale"):
                node[path[-1]] = jnp.ones(shape)
            elif path[-1].endswith("bias"):
                node[path[-1]] = jnp.zeros(shape)
            elif path[0] != "head":
                drawn = jax.random.normal(jax.random.fold_in(key, number), shape)
                node[path[-1]] = 0.02 * drawn
        return params

    def picture(self, params: Params, pixels: Float[Array, "B Y X 3"]) -> Float[Array, "B N D"]:
        """What the text attends to: the class token and the patches of pictures.

        Args:
            params: as `init` makes them.
            pixels: [B, image_size, image_size, 3] float32, as `clip_pixels` makes them
                with `round_middle`.

        Raises:
            InputError: pictures of another size.
        """
        c, vision = self.config, params["vision"]
        if pixels.shape[1:] != (c.image_size, c.image_size, 3):
            raise InputError(
                f"pictures have shape {pixels.shape}; expected "
                f"[B, {c.image_size}, {c.image_size}, 3]"
            )
        side, patch, count = c.image_size // c.patch_size, c.patch_size, len(pixels)
        patches = pixels.reshape(count, side, patch, side, patch, 3)
        x = jnp.einsum("byrxsc,srcd->byxd", patches, vision["patch"]) + vision["patch_bias"]
        first = jnp.broadcast_to(vision["class_embedding"], (count, 1, c.vision.width))
        x = jnp.concatenate([first, x.reshape(count, side * side, c.vision.width)], axis=1)
        x = x + vision["positions"]

        def block(x: Array, layer: Params) -> tuple[Array, None]:
            epsilon = c.vision_epsilon
            y = layer_norm(x, layer["attention_norm_scale"], layer["attention_norm_bias"], epsilon)
            joined = jnp.einsum("btd,djhk->jbhtk", y, layer["joined"])
            joined = joined + layer["joined_bias"][:, None, :, None]
            seen = attend(joined[0], joined[1], joined[2], jnp.ones((1, 1, x.shape[1]), bool))
            x = x + _merge(seen, layer, "output")
            y = layer_norm(x, layer["mlp_norm_scale"], layer["mlp_norm_bias"], epsilon)
            return x + _mlp(y, layer), None

        x = jax.lax.scan(block, x.astype(jnp.float32), vision["layers"])[0]
        return layer_norm(x, **vision["final_norm"], epsilon=c.vision_epsilon)

    def features(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        mask: Bool[Array, "B T"],
        picture: Float[Array, "B N D"],
    ) -> Float[Array, "B W"]:
        """The text's first token after it has seen text and picture.

        Args:
            params: as `init` makes them.
            tokens: [B, T] int32, the first one read.
            mask: [B, T], False for padding.
            picture: what `picture` gives.

        Raises:
            InputError: more tokens than the model has positions for.
        """
        c, text = self.config, params["text"]
        length = tokens.shape[1]
        if length > c.positions:
            raise InputError(f"texts have {length} tokens; the model takes up to {c.positions}")
        x = jnp.take(text["embedding"], tokens, axis=0) + text["positions"][:length]
        x = layer_norm(x, **text["embedding_norm"], epsilon=c.text_epsilon)
        everything = jnp.ones((1, 1, picture.shape[1]), bool)

        def attention(x: Array, layer: Params, name: str, source: Array, seen: Array) -> Array:
            def heads(part: str, y: Array) -> Array:
                projected = jnp.einsum("btd,dhk->bhtk", y, layer[f"{name}_{part}"])
                return projected + layer[f"{name}_{part}_bias"][:, None]

            found = attend(heads("query", x), heads("key", source), heads("value", source), seen)
            x = x + _merge(found, layer, f"{name}_output")
            return norm(x, layer, f"{name}_norm")

        def norm(x: Array, layer: Params, name: str) -> Array:
            return layer_norm(x, layer[f"{name}_scale"], layer[f"{name}_bias"], c.text_epsilon)

        def block(x: Array, layer: Params) -> tuple[Array, None]:
            x = attention(x, layer, "self", x, mask[:, None])
            x = attention(x, layer, "cross", picture, everything)
            return norm(x + _mlp(x, layer), layer, "mlp_norm"), None

        return jax.lax.scan(block, x.astype(jnp.float32), text["layers"])[0][:, 0]

    def score(
        self,
        params: Params,
        tokens: Int[Array, "B T"],
        mask: Bool[Array, "B T"],
        pixels: Float[Array, "B Y X 3"],
    ) -> Float[Array, " B"]:
        """The rewards of pictures for texts, float32 [B], on the published scale.

        Arguments and errors as for `picture` and `features`.
        """
        features = self.features(params, tokens, mask, self.picture(params, pixels))
        return self.config.head.apply(params["head"], features)


def _merge(seen: Float[Array, "B H T K"], layer: Params, name: str) -> Array:
    return jnp.einsum("bhtk,hkd->btd", seen, layer[name]) + layer[f"{name}_bias"]


def _mlp(x: Float[Array, "B T D"], layer: Params) -> Array:
    inner = jax.nn.gelu(x @ layer["up"] + layer["up_bias"], approximate=False)
    return inner @ layer["down"] + layer["down_bias"]

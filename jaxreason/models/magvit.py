"""The MAGVIT-v2 image tokenizer: a convolutional encoder and decoder around bits.

Yu et al. 2023 (arXiv:2310.05737), as two-dimensional convolutions like `showlab/magvitv2`, which
MMaDA uses; shapes are those of Gen-Verse/MMaDA `models/modeling_magvitv2.py`. Images are channels
last. Parameters are nested dicts whose names follow the published ones (`magvit_names`).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.lookup_free_quantization import codes_of, signs_of_codes
from jaxreason.types import Params


@dataclass(frozen=True)
class MagvitConfig:
    """Shape of the tokenizer; the defaults are the published ones.

    Attributes:
        channels: of the first encoder and last decoder level.
        encoder_multipliers: channels of each level over `channels`, finest level first; the
            picture is halved between levels.
        encoder_blocks: residual blocks of each level.
        decoder_multipliers: the same for the decoder, finest level first; as many levels.
        decoder_blocks: the same for the decoder.
        code_bits: K, bits of a code; the codebook has 2^K entries.
        groups: of the group normalisation; divides the channels of every level.

    Raises:
        InputError: a field that does not fit the others.
    """

    channels: int = 128
    encoder_multipliers: tuple[int, ...] = (1, 2, 2, 4, 4)
    encoder_blocks: tuple[int, ...] = (4, 3, 4, 3, 4)
    decoder_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    decoder_blocks: tuple[int, ...] = (4, 4, 3, 4, 3)
    code_bits: int = 13
    groups: int = 32

    def __post_init__(self) -> None:
        levels = len(self.encoder_multipliers)
        for name in ("encoder", "decoder"):
            for part in ("multipliers", "blocks"):
                values = getattr(self, f"{name}_{part}")
                if len(values) != levels or levels < 1 or min(values) < 1:
                    raise InputError(
                        f"model.{name}_{part} is {tuple(values)}; expected {max(levels, 1)} "
                        "numbers of at least 1, one for each level, as of encoder_multipliers"
                    )
        for name, most in (("channels", 2**16), ("groups", 2**16), ("code_bits", 24)):
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"model.{name} is {getattr(self, name)}; expected 1..{most}")
        if self.channels % self.groups:
            # Multiples of it then divide too.
            raise InputError(
                f"model.groups is {self.groups}; it must divide model.channels ({self.channels})"
            )

    @property
    def downsampling(self) -> int:
        """Pixels on each side of the square that one code stands for."""
        return 2 ** (len(self.encoder_multipliers) - 1)

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return 2**self.code_bits

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of codes of a picture.

        Raises:
            InputError: a side of the picture that is no multiple of the downsampling.
        """
        factor = self.downsampling
        if rows < 1 or columns < 1 or rows % factor or columns % factor:
            raise InputError(
                f"picture of {columns}x{rows} pixels: both sides must be multiples of {factor}, "
                "the tokenizer's downsampling"
            )
        return rows // factor, columns // factor


def _convolution(features: int, size: int, name: str) -> nn.Conv:
    return nn.Conv(features, (size, size), padding="SAME", name=name)


def _normalisation(groups: int, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(groups, epsilon=1e-6, use_fast_variance=False, name=name)


class ResidualBlock(nn.Module):
    """Twice norm, swish and convolution, added to what came in."""

    features: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "B Y X C"]) -> Float[Array, "B Y X D"]:
        """Features at the same resolution."""
        h = _convolution(self.features, 3, "conv1")(
            nn.swish(_normalisation(self.groups, "norm1")(x))
        )
        h = _convolution(self.features, 3, "conv2")(
            nn.swish(_normalisation(self.groups, "norm2")(h))
        )
        if x.shape[-1] != self.features:
            x = _convolution(self.features, 1, "nin_shortcut")(x)
        return x + h


class SpatialAttention(nn.Module):
    """One head of attention between all places, added to what came in."""

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "B Y X C"]) -> Float[Array, "B Y X C"]:
        """The same shape."""
        batch, rows, columns, features = x.shape
        normed = _normalisation(self.groups, "norm")(x)
        query, key, value = (
            _convolution(features, 1, name)(normed).reshape(batch, rows * columns, features)
            for name in ("q", "k", "v")
        )
        scores = jnp.einsum("bic,bjc->bij", query, key) * features**-0.5
        mixed = jnp.einsum("bij,bjc->bic", jax.nn.softmax(scores, axis=-1), value)
        return x + _convolution(features, 1, "proj_out")(mixed.reshape(x.shape))


class Encoder(nn.Module):
    """Images in -1..1 to latents, one of K channels for each square of pixels."""

    config: MagvitConfig

    @nn.compact
    def __call__(self, images: Float[Array, "B H W 3"]) -> Float[Array, "B Y X K"]:
        """Latents before quantisation."""
        c = self.config
        h = _convolution(c.channels, 3, "conv_in")(images)
        for level, blocks in enumerate(c.encoder_blocks):
            features = c.channels * c.encoder_multipliers[level]
            for block in range(blocks):
                h = ResidualBlock(features, c.groups, name=f"down_{level}_block_{block}")(h)
            if level + 1 < len(c.encoder_blocks):
                # One row below and one column to the right: SAME of an even side.
                h = nn.Conv(
                    *(features, (3, 3), 2),
                    padding=((0, 1), (0, 1)),
                    name=f"down_{level}_downsample",
                )(h)
        h = _middle(h, c.groups)
        h = nn.swish(_normalisation(c.groups, "norm_out")(h))
        h = _convolution(c.code_bits, 3, "conv_out")(h)
        return _convolution(c.code_bits, 1, "quant_conv")(h)


class Decoder(nn.Module):
    """Signs of latents back to images, about -1..1."""

    config: MagvitConfig

    @nn.compact
    def __call__(self, latents: Float[Array, "B Y X K"]) -> Float[Array, "B H W 3"]:
        """Images, not clipped."""
        c = self.config
        h = _convolution(c.code_bits, 1, "post_quant_conv")(latents)
        h = _convolution(c.channels * c.decoder_multipliers[-1], 3, "conv_in")(h)
        h = _middle(h, c.groups)
        for level in reversed(range(len(c.decoder_blocks))):
            features = c.channels * c.decoder_multipliers[level]
            for block in range(c.decoder_blocks[level]):
                h = ResidualBlock(features, c.groups, name=f"up_{level}_block_{block}")(h)
            if level:
                h = jnp.repeat(jnp.repeat(h, 2, axis=1), 2, axis=2)
                h = _convolution(features, 3, f"up_{level}_upsample")(h)
        h = nn.swish(_normalisation(c.groups, "norm_out")(h))
        return _convolution(3, 3, "conv_out")(h)


def _middle(h: Array, groups: int) -> Array:
    """Block, attention, block at the coarsest level; called inside a module's compact method."""
    features = h.shape[-1]
    h = ResidualBlock(features, groups, name="mid_block_1")(h)
    h = SpatialAttention(groups, name="mid_attn_1")(h)
    return ResidualBlock(features, groups, name="mid_block_2")(h)


@dataclass(frozen=True)
class Magvit:
    """The tokenizer as pure functions of its parameters `{encoder, decoder}`.

    Dimension letters: H, W picture in pixels; Y, X grid of codes; K bits.

    Attributes:
        config: its shape.
    """

    config: MagvitConfig

    def init(self, key: PRNGKeyArray) -> Params:
        """Random parameters, float32."""
        first, second = jax.random.split(key)
        side = self.config.downsampling
        image = jnp.zeros((1, side, side, 3))
        latent = jnp.zeros((1, 1, 1, self.config.code_bits))
        return {
            "encoder": Encoder(self.config).init(first, image)["params"],
            "decoder": Decoder(self.config).init(second, latent)["params"],
        }

    def latents(self, params: Params, images: Float[Array, "B H W 3"]) -> Float[Array, "B Y X K"]:
        """What the encoder makes of images in -1..1, before quantisation.

        Raises:
            InputError: not [B, H, W, 3] floats, or a side that is no multiple of the downsampling.
        """
        if (
            images.ndim != 4
            or images.shape[-1] != 3
            or not jnp.issubdtype(images.dtype, jnp.floating)
        ):
            raise InputError(
                f"images must be floats in -1..1, [B, H, W, 3], got {images.dtype} "
                f"of shape {images.shape}"
            )
        self.config.grid(images.shape[1], images.shape[2])
        z: Any = Encoder(self.config).apply({"params": params["encoder"]}, images)
        return z

    def encode(
        self, params: Params, images: Float[Array, "B H W 3"]
    ) -> tuple[Int[Array, "B N"], Float[Array, "B Y X K"]]:
        """Codes row by row, int32, and the latents they are the signs of; see `latents`."""
        z = self.latents(params, images)
        return codes_of(z).reshape(z.shape[0], -1), z

    def decode(self, params: Params, quantised: Float[Array, "B Y X K"]) -> Float[Array, "B H W 3"]:
        """Images, about -1..1 and not clipped, from latents of +1 and -1."""
        images: Any = Decoder(self.config).apply({"params": params["decoder"]}, quantised)
        return images

    def decode_codes(
        self,
        params: Params,
        codes: Int[Array, "B N"],
        grid: tuple[int, int] | None = None,
    ) -> Float[Array, "B H W 3"]:
        """Images, about -1..1 and not clipped; codes outside the codebook lose their high bits.

        Args:
            params: parameters.
            codes: row by row.
            grid: rows and columns of the codes; a square by default.

        Raises:
            InputError: the grid does not have N places.
        """
        count = codes.shape[-1]
        side = round(count**0.5)
        rows, columns = grid or (side, side)
        if codes.ndim != 2 or rows * columns != count:
            raise InputError(
                f"codes has shape {codes.shape}; expected [B, {rows} x {columns}]"
                + ("" if grid else ", or a grid beside them")
            )
        quantised = signs_of_codes(codes, self.config.code_bits)
        return self.decode(params, quantised.reshape(-1, rows, columns, self.config.code_bits))


def from_pixels(images: Int[Array, "*N 3"]) -> Float[Array, "*N 3"]:
    """uint8 to floats in -1..1."""
    return images.astype(jnp.float32) / 127.5 - 1


def to_pixels(images: Float[Array, "*N 3"]) -> Int[Array, "*N 3"]:
    """Floats, clipped to -1..1, to uint8."""
    return jnp.round((jnp.clip(images, -1, 1) + 1) * 127.5).astype(jnp.uint8)

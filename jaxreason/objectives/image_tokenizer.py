"""What an image tokenizer minimises: reconstruction and the losses of lookup-free quantisation.

The published MAGVIT-v2 also trains with a perceptual and an adversarial loss, which need a second
pretrained network and a discriminator; neither is here, so large natural pictures come out softer.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from jaxreason.errors import InputError
from jaxreason.models.lookup_free_quantization import (
    bit_entropy,
    code_entropy,
    commitment,
    straight_through,
)
from jaxreason.models.magvit import Magvit, from_pixels
from jaxreason.types import Batch, Metrics, Objective, Params


@dataclass(frozen=True)
class TokenizerLossConfig:
    """Parts of the loss; the quantiser's weights are those of Gen-Verse/MMaDA.

    Attributes:
        reconstruction: "mse" or "l1", the mean over pixels in -1..1.
        commitment: weight of the latents' distance from their signs.
        beta: share of the part of it that is seen from the signs.
        entropy: weight of (mean entropy - entropy of the mean): decided and evenly used.
        entropy_of: "bits", each on its own as in Gen-Verse/MMaDA, or whole "codes", as in Yu et al.
            2023; the latter needs 2^bits numbers for each code of a batch.
    """

    reconstruction: Literal["mse", "l1"] = "mse"
    commitment: float = 0.1
    beta: float = 0.25
    entropy: float = 0.1
    entropy_of: Literal["bits", "codes"] = "bits"

    def __post_init__(self) -> None:
        if self.reconstruction not in ("mse", "l1"):
            raise InputError(f"loss.reconstruction is {self.reconstruction!r}; expected mse or l1")
        if self.entropy_of not in ("bits", "codes"):
            raise InputError(f"loss.entropy_of is {self.entropy_of!r}; expected bits or codes")
        for name in ("commitment", "beta", "entropy"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"loss.{name} is {getattr(self, name)}; expected zero or more")


def image_tokenizer(model: Magvit, config: TokenizerLossConfig) -> Objective:
    """Reconstruction through the straight-through signs, and the quantiser's two losses.

    Batch: `images`, uint8 [batch, rows, columns, 3]. Metrics, each (sum, count) over pictures:
    `loss`, `reconstruction`, `commitment`, and in nats `entropy` (how undecided bits or codes are)
    and `use_entropy` (how evenly they are used). The last is one of the whole batch: with
    accumulation it is that of each micro-batch. `tokens` is the number of codes.
    """

    def objective(params: Params, batch: Batch, key: PRNGKeyArray) -> tuple[Array, Metrics]:
        del key
        images = from_pixels(batch["images"])
        z = model.latents(params, images)
        error = model.decode(params, straight_through(z)) - images
        distance = jnp.square(error) if config.reconstruction == "mse" else jnp.abs(error)
        undecided, used = (bit_entropy if config.entropy_of == "bits" else code_entropy)(z)
        parts = {
            "reconstruction": jnp.mean(distance),
            "commitment": commitment(z, config.beta),
            "entropy": undecided,
            "use_entropy": used,
        }
        loss = (
            parts["reconstruction"]
            + config.commitment * parts["commitment"]
            + config.entropy * (undecided - used)
        )
        count = jnp.asarray(images.shape[0], jnp.float32)
        metrics = {name: (x * count, count) for name, x in {"loss": loss, **parts}.items()}
        codes = jnp.asarray(z.size // z.shape[-1], jnp.float32)
        return loss, {**metrics, "tokens": (codes, count)}

    return objective

"""What supervised diffusion experiments check before any long work."""

import json
import math
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.tokens.image_codec import ImageCodec

SHAPE = (
    *("layers", "width", "heads", "kv_heads", "head_size", "mlp_width", "tied"),
    *("qkv_bias", "output_bias", "mlp_bias", "qk_norm"),
)
"""Fields of a model that decide which parameters it has, its vocabulary aside."""

MEANING = ("rope_base", "rope_scaling", "norm_epsilon", "window", "window_layers")
"""Fields that decide what the same parameters compute."""


def check_shape(base: str, shape: TransformerConfig, own: TransformerConfig) -> None:
    """That the parameters of a base fit a model.

    Args:
        base: its run directory.
        shape: of its model.
        own: the model that is to go on with them.

    Raises:
        InputError: names the first field that differs.
    """
    for name in (*SHAPE, *MEANING):
        if getattr(shape, name) != getattr(own, name):
            raise InputError(
                f"base {base} has model.{name} {getattr(shape, name)}, this experiment "
                f"{getattr(own, name)}; they must agree"
            )


def check_guidance(guidance: float, text_dropout: float, reasons: bool) -> None:
    """That pictures can be drawn with guidance: the model has learnt to draw without a text.

    Args:
        guidance: of pictures.
        text_dropout: share of the text-to-picture rows that were trained without text.
        reasons: pictures are drawn after reasoning; no text is dropped there.

    Raises:
        InputError: it has not.
    """
    if guidance == 0:
        return
    if reasons:
        raise InputError(
            f"decoding.guidance is {guidance} and pictures are drawn after reasoning, where no "
            "text is dropped in training; use 0"
        )
    if text_dropout == 0:
        raise InputError(
            f"decoding.guidance is {guidance} and text_dropout 0; guidance needs a model that was "
            "trained on some pictures without their text: use text_dropout above 0, or guidance 0"
        )


def check_same_codec(what: str, theirs: ImageCodec, own: ImageCodec) -> None:
    """That image codes mean the same pictures.

    Args:
        what: has the other codec, for the message.
        theirs: the other codec.
        own: of this experiment.

    Raises:
        InputError: names the first thing in which they differ.
    """
    if differs := difference(theirs.identity, own.identity):
        raise InputError(
            f"{what} has another image tokenizer than this experiment ({differs}): its image ids "
            "stand for other pictures; use the same tokenizer"
        )


def difference(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """`NAME THEIRS, here OWN` of the first entry in which two identities differ; "" if none."""
    theirs, own = json.loads(json.dumps(theirs)), json.loads(json.dumps(own))
    for name in sorted({*theirs, *own}):
        if theirs.get(name) != own.get(name):
            return f"{name} {theirs.get(name)}, here {own.get(name)}"
    return ""


def check_rows(rows: int, accumulation: int, mesh: Mesh | None) -> None:
    """That the rows of a batch split evenly over micro-batches and devices.

    Args:
        rows: of a batch, of all processes together.
        accumulation: micro-batches.
        mesh: devices; None is one.

    Raises:
        InputError: they do not.
    """
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    if rows % (ways * accumulation):
        raise InputError(
            f"rows sum to {rows}; they must be a multiple of train.accumulation ({accumulation}) x "
            f"mesh axes replica x fsdp ({ways})"
        )

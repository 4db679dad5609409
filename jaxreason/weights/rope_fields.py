"""Rotary embedding in config.json: as transformers 4 and as transformers 5 write it."""

import math
from typing import Any

from jaxreason.errors import InputError
from jaxreason.models.config import TransformerConfig
from jaxreason.models.rope import ROPE_KINDS, RopeScaling
from jaxreason.weights.config_fields import Fields, shown

ROPE_FIELDS = (
    *("rope_theta", "rope_scaling", "rope_parameters", "max_position_embeddings"),
    *("original_max_position_embeddings", "partial_rotary_factor"),
)
"""Fields of config.json that `read_rope` reads."""

_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_ORIGINAL = "original_max_position_embeddings"
# kind -> what else its object may hold
_OF_KIND = {
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", _ORIGINAL, "low_freq_factor", "high_freq_factor"},
    "yarn": {
        *("factor", _ORIGINAL, "attention_factor", "beta_fast", "beta_slow", "truncate"),
        *("mscale", "mscale_all_dim"),
    },
}


def read_rope(fields: Fields) -> tuple[float, RopeScaling | None]:
    """Base and scaling of the rotary frequencies.

    Raises:
        InputError: a kind that we do not have (`dynamic`, `longrope`), a field that its kind does
            not use, or two that contradict each other.
    """
    fields.integer("max_position_embeddings", None)
    scaling, parameters = fields.inner("rope_scaling"), fields.inner("rope_parameters")
    if scaling is not None and parameters is not None and scaling.values != parameters.values:
        raise fields.refuse("rope_scaling", "and rope_parameters says something else; give one")
    inner = scaling or parameters or Fields({}, fields.where)
    base = fields.number("rope_theta", None)
    if "rope_theta" in inner.values:
        within = inner.number("rope_theta")
        if base is not None and base != within:
            raise inner.refuse("rope_theta", f"and rope_theta beside it {base}; they must agree")
        base = within
    for place in (fields, inner):
        if place.number("partial_rotary_factor", 1.0) != 1:
            raise place.refuse("partial_rotary_factor", "only whole heads are rotated here: 1.0")
    known = ("default", *ROPE_KINDS)
    kind = inner.text("type", known, "default")
    if kind != inner.text("rope_type", known, kind):
        if "type" in inner.values:
            raise inner.refuse("type", f"and rope_type is {inner.values['rope_type']!r}; give one")
        kind = inner.values["rope_type"]
    for name in inner.values:
        if name not in _COMMON | _OF_KIND[kind]:
            raise inner.refuse(name, f"rope type {kind!r} does not use it")
    base = 10_000.0 if base is None else base
    return base, None if kind == "default" else _scaling(kind, inner, fields)


def _scaling(kind: Any, inner: Fields, fields: Fields) -> RopeScaling:
    factor = inner.number("factor")
    if kind == "linear":
        return RopeScaling(kind, factor)
    # What stands beside the object counts, then what it says, then the model's length.
    length = fields.integer(_ORIGINAL, None) or inner.integer(_ORIGINAL, None)
    length = length or fields.integer("max_position_embeddings")
    if kind == "llama3":
        low, high = inner.number("low_freq_factor"), inner.number("high_freq_factor")
        return RopeScaling(kind, factor, length, low, high)
    scales = [inner.number(name, None) for name in ("mscale", "mscale_all_dim")]
    attention_factor = inner.number("attention_factor", None)
    if attention_factor is None and None not in scales:
        above, below = (0.1 * scale * math.log(max(factor, 1)) + 1 for scale in scales)
        attention_factor = above / below
    elif any(scales):
        given = {name: value for name, value in inner.values.items() if "mscale" in name}
        raise InputError(
            f"{inner.where} gives {shown(given)}; mscale and mscale_all_dim count together only, "
            "and where there is no attention_factor"
        )
    return RopeScaling(
        kind,
        factor,
        length,
        beta_fast=inner.number("beta_fast", 32.0),
        beta_slow=inner.number("beta_slow", 1.0),
        attention_factor=attention_factor,
        truncate=inner.flag("truncate", True),
    )


def rope_document(config: TransformerConfig) -> dict[str, Any]:
    """`rope_theta` and `rope_scaling`, which transformers 4 and 5 both read."""
    scaling = config.rope_scaling
    document: dict[str, Any] = {"rope_theta": config.rope_base, "rope_scaling": None}
    if scaling is None:
        return document
    inner: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        inner[_ORIGINAL] = scaling.original_length
    if scaling.kind == "llama3":
        inner["low_freq_factor"] = scaling.low_frequency_factor
        inner["high_freq_factor"] = scaling.high_frequency_factor
    if scaling.kind == "yarn":
        inner |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        inner["truncate"] = scaling.truncate
        if scaling.attention_factor is not None:
            inner["attention_factor"] = scaling.attention_factor
    return document | {"rope_scaling": inner}

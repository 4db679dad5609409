"""Models as pure functions of parameter trees; the only place that knows flax."""

from jaxreason.models.attention import AttentionSpec
from jaxreason.models.presets import PRESETS, preset
from jaxreason.models.transformer import Cache, Transformer, TransformerConfig

__all__ = ["PRESETS", "AttentionSpec", "Cache", "Transformer", "TransformerConfig", "preset"]

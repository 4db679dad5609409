"""Models as pure functions of parameter trees; the only place that knows flax."""

from jaxreason.models.attention import AttentionSpec
from jaxreason.models.critic import Critic
from jaxreason.models.llama import from_llama, to_llama
from jaxreason.models.presets import PRESETS, count_parameters, preset
from jaxreason.models.transformer import Cache, Transformer, TransformerConfig

__all__ = [
    "PRESETS",
    "AttentionSpec",
    "Cache",
    "Critic",
    "Transformer",
    "TransformerConfig",
    "count_parameters",
    "from_llama",
    "preset",
    "to_llama",
]

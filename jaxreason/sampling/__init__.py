"""Decoding: samplers `(params, prompts, key) -> Completions`."""

from jaxreason.sampling.autoregressive import autoregressive
from jaxreason.sampling.truncation import truncate

__all__ = ["autoregressive", "truncate"]

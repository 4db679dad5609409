"""Training objectives: `(params, batch, key) -> (loss, metrics)`."""

from jaxreason.objectives.next_token import next_token

__all__ = ["next_token"]

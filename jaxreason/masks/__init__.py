"""Element-wise update masks as optax transforms; imports JAX and optax only."""

from jaxreason.lazy import lazy_names

_HOMES = {
    "IndexMask": "forms",
    "PackedMask": "forms",
    "apply_updates": "freezing",
    "expand": "forms",
    "freeze_outside": "freezing",
    "mask_gradients": "elementwise",
    "mask_updates": "elementwise",
    "pack": "forms",
    "read_mask": "in_state",
    "to_boolean": "forms",
    "to_indices": "forms",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

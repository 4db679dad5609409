"""Element-wise update masks as optax transforms; imports JAX and optax only."""

from jaxreason.lazy import lazy_names

_HOMES = {
    "Density": "sets",
    "IndexMask": "forms",
    "Overlap": "sets",
    "PackedMask": "forms",
    "apply_updates": "freezing",
    "by_layer": "sources.structure",
    "by_matrix": "sources.structure",
    "by_path": "sources.structure",
    "changed_in_steps": "sources.steps",
    "compact": "compaction",
    "complement": "sets",
    "density": "sets",
    "difference": "sources.from_checkpoints",
    "expand": "forms",
    "freeze_outside": "freezing",
    "gradient_mask": "sources.gradients",
    "gradient_scores": "sources.gradients",
    "intersection": "sets",
    "load_mask": "storage",
    "low_rank_safe": "sources.principal",
    "magnitude": "sources.magnitude",
    "mask_gradients": "elementwise",
    "mask_updates": "elementwise",
    "overlap": "sets",
    "pack": "forms",
    "principal": "sources.principal",
    "random_family": "sources.random",
    "random_mask": "sources.random",
    "read_mask": "in_state",
    "save_mask": "storage",
    "scheduled_mask": "scheduled",
    "to_boolean": "forms",
    "to_indices": "forms",
    "top_entries": "sources.selection",
    "track_updates": "tracking",
    "tracked": "sources.steps",
    "union": "sets",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

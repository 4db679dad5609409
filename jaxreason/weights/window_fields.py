"""Sliding windows in config.json."""

from collections.abc import Mapping
from typing import Any

from jaxreason.models.config import TransformerConfig
from jaxreason.weights.config_fields import Fields

EACH_LAYER = ("use_sliding_window", "sliding_window", "max_window_layers", "layer_types")
"""Fields of families whose layers may have a window or not (Qwen)."""

ONE = ("sliding_window",)
"""Fields of families whose layers all have it or none has (Mistral)."""

_USUAL, _USUAL_FIRST = 4096, 28
_KINDS = ("full_attention", "sliding_attention")


def read_windows(
    fields: Fields, reads: tuple[str, ...], layers: int
) -> tuple[int, tuple[bool, ...]]:
    """`window` and `window_layers` of our config.

    A `sliding_window` that is null is none; one that is absent has transformers' usual length.

    Args:
        fields: of config.json.
        reads: `EACH_LAYER`, `ONE` or nothing.
        layers: of the model.

    Raises:
        InputError: malformed, or layers with a window of no length.
    """
    if not reads:
        return 0, ()
    window = fields.integer("sliding_window", 0 if "sliding_window" in fields.names else _USUAL)
    if reads == ONE:
        return window, ()
    window = window if fields.flag("use_sliding_window") else 0
    first = fields.integer("max_window_layers", _USUAL_FIRST, least=0)
    which = tuple(window > 0 and layer >= first for layer in range(layers))
    if "layer_types" in fields.values:
        which = _layer_types(fields, layers)
        if any(which) and not window:
            raise fields.refuse(
                "layer_types", "sliding_attention needs use_sliding_window and a sliding_window"
            )
    if not any(which):
        return 0, ()
    return window, () if all(which) else which


def _layer_types(fields: Fields, layers: int) -> tuple[bool, ...]:
    kinds = fields.values["layer_types"]
    if not isinstance(kinds, list) or len(kinds) != layers or any(k not in _KINDS for k in kinds):
        raise fields.refuse("layer_types", f"expected one of {_KINDS} for each of {layers} layers")
    return tuple(kind == "sliding_attention" for kind in kinds)


def window_document(
    model: TransformerConfig, reads: tuple[str, ...], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields that say it again; `settings` are those of an imported config.json."""
    if not reads:
        return {}
    if reads == ONE:
        return {"sliding_window": model.window or None}
    if not model.window:
        names: tuple[str, ...] = ("sliding_window", "max_window_layers")
        kept = {name: settings[name] for name in names if name in settings}
        return {"use_sliding_window": False, **kept}
    which = [window > 0 for window in model.windows]
    return {
        "use_sliding_window": True,
        "sliding_window": model.window,
        "layer_types": [_KINDS[each] for each in which],
        # Versions that do not know the types of layers know the first one with a window.
        "max_window_layers": which.index(True),
    }

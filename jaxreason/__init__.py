"""jaxreason: what reasoning post-training really does to a model, in pure-functional JAX.

The namespaces below load on first use, so `import jaxreason` is instant and using one part
(`jaxreason.mazes` needs no JAX) never pays for another.
"""

import importlib
from types import ModuleType

_NAMESPACES = (
    "analysis",
    "cli",
    "countdown",
    "data",
    "evaluation",
    "masks",
    "mazes",
    "models",
    "objectives",
    "rewards",
    "sampling",
    "sharding",
    "tokens",
    "training",
    "weights",
)

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name in _NAMESPACES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*_NAMESPACES, "__version__"]

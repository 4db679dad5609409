"""From mazes to batches: sources of examples, the prepared data set, the training pipeline.

Names load on first use: `jaxreason.data.MazeData` does not import Grain or TensorFlow Datasets.
"""

import importlib
from typing import Any

_HOME = {
    "BatchConfig": "batch_config",
    "MazeData": "sources",
    "MazeSource": "sources",
    "maze_source": "sources",
    "prepare": "prepared",
    "prepared_source": "prepared",
    "TrainingBatches": "pipeline",
    "TrainingIterator": "pipeline",
    "training_batches": "pipeline",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(_HOME)

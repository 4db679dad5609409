"""From problems to batches: sources of examples, the prepared data set, the training pipeline.

Names load on first use: `jaxreason.data.MazeData` does not import Grain or TensorFlow Datasets.
"""

from jaxreason.lazy import lazy_names

_HOMES = {
    "BatchConfig": "batch_config",
    "CountdownData": "countdown",
    "CountdownSource": "countdown",
    "countdown_source": "countdown",
    "MazeData": "sources",
    "MazeSource": "sources",
    "maze_source": "sources",
    "prepare": "prepared",
    "prepared_source": "prepared",
    "TrainingBatches": "pipeline",
    "TrainingIterator": "pipeline",
    "training_batches": "pipeline",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

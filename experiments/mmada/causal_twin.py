"""The causal twin of a masked-diffusion experiment: the same rows and transformer, next tokens."""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.data.multimodal.mixing import mixed_batches
from jaxreason.models import Transformer
from jaxreason.objectives import next_token
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import train


class CausalBatches:
    """Rows of masked-diffusion batches as next-token batches: the answer and its end are learned.

    Args:
        batches: what `mixed_batches` gives.
        eos: the end token, which also fills up the rows.
    """

    def __init__(self, batches: Any, eos: int) -> None:
        self._batches, self._eos = batches, eos

    def __iter__(self) -> "_CausalIterator":
        return _CausalIterator(iter(self._batches), self._eos)


class _CausalIterator:
    def __init__(self, inner: Any, eos: int) -> None:
        self._inner, self._eos = inner, eos

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._inner)
        ends = (batch["tokens"] == self._eos) & batch["maskable"]
        targets = batch["maskable"] & (np.cumsum(ends, axis=1) - ends == 0)
        rows, length = targets.shape
        return {
            "tokens": batch["tokens"],
            "targets_mask": targets,
            # Padding counts as tokens of the row, as it does for the other model.
            "segments": np.ones((rows, length), np.int32),
            "positions": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
        }

    def get_state(self) -> Any:
        """Position in the data, plain JSON."""
        return self._inner.get_state()

    def set_state(self, state: Any) -> None:
        """Go on from a position."""
        self._inner.set_state(state)


def causal_model(experiment: MaskedDiffusionExperiment) -> Transformer:
    """The same transformer, attending backwards only."""
    config = experiment.transformer().config
    return Transformer(replace(config, attention="causal"))


def train_causal(experiment: MaskedDiffusionExperiment, directory: Path) -> Any:
    """Next-token training on the experiment's rows; returns the parameters."""
    model, vocabulary = causal_model(experiment), experiment.vocabulary()
    batches = mixed_batches(
        experiment.source(), rows_per_task=experiment.rows, seed=experiment.train.seed
    )
    result = train(
        directory,
        objective=next_token(model, experiment.loss_chunk or None),
        model_init=model.init,
        optimizer_config=experiment.optimizer,
        train_config=experiment.train,
        batches=CausalBatches(batches, vocabulary.eos),
        config_json={"kind": "causal_twin", **dataclasses.asdict(experiment)},
        progress=True,
    )
    return result.state.params

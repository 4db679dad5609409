"""A run directory that cannot keep what a run will write is refused before anything is loaded."""

import dataclasses

import jax
import pytest

from jaxreason.errors import InputError
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.image_tokenizer_experiment import ImageTokenizerExperiment
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.diffusion.reinforcement_experiment import DiffusionReinforcementExperiment
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.preference_experiment import PreferenceExperiment
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment


@pytest.mark.parametrize(
    "kind",
    [
        MazeExperiment,
        ReinforcementExperiment,
        PreferenceExperiment,
        ImageTokenizerExperiment,
        MaskedDiffusionExperiment,
        DiffusionReinforcementExperiment,
        RecordsExperiment,
    ],
)
def test_a_run_directory_is_refused_before_anything_is_loaded(kind, monkeypatch):
    def early(*arguments, **options):
        raise AssertionError("something was loaded first")

    monkeypatch.setattr(kind, "load_base", early, raising=False)
    monkeypatch.setattr(kind, "source", early, raising=False)
    experiment = object.__new__(kind)
    for field in dataclasses.fields(kind):
        object.__setattr__(experiment, field.name, None)
    object.__setattr__(experiment, "train", TrainConfig(tensorboard=True))
    with pytest.raises(InputError, match=r"train\.tensorboard=True writes local files"):
        experiment.run("memory://bucket/early")
    object.__setattr__(experiment, "train", TrainConfig())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match=r"2 processes cannot be written to memory://"):
        experiment.run("memory://bucket/early")

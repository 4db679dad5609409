"""Eight devices hold an eighth each, as the compiler says, of whatever an axis splits."""

import sys
from functools import cache
from pathlib import Path

import optax
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments/benchmarks"))
from device_memory import device_bytes, measure
from mesh_cases import Size, sampling_cases, training_cases

from jaxreason.models import TransformerConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.training.state import abstract_state

SIZE = Size(
    model=TransformerConfig(256, 2, 64, 8, 8, 8, 256, remat="full"),
    rows=16,
    length=128,
    new=32,
    chunk=256,
)
CASES = {**training_cases(SIZE), **sampling_cases(SIZE)}
MESHES = {
    "one": None,
    "fsdp": MeshConfig(fsdp=8),
    "tensor": MeshConfig(fsdp=1, tensor=8),
    "sequence": MeshConfig(fsdp=1, sequence=8),
}


@cache
def needed(name, mesh):
    """Bytes of one device."""
    config = MESHES[mesh]
    return measure(CASES[name](), None if config is None else make_mesh(config))


def share(name, mesh, part):
    return needed(name, mesh)[part] / needed(name, "one")[part]


@pytest.mark.parametrize("config", [MeshConfig(fsdp=8), MeshConfig(fsdp=1, tensor=8)])
@pytest.mark.parametrize("name", ["next token", "PPO critic", "masked diffusion"])
def test_state_is_an_eighth_but_for_norms_and_counters(name, config):
    case = CASES[name]()

    def state(mesh):
        found = abstract_state(case.init, optax.adamw(1e-3), mesh)
        return device_bytes((found.params, found.optimizer_state))

    # Two norms per layer, the last one and the critic's head, each with its two moments.
    small = 3 * 4 * SIZE.model.width * (2 * SIZE.model.layers + 2) + 64
    assert state(make_mesh(config)) <= state(None) / 8 + small


@pytest.mark.slow
def test_activations_fall_with_every_axis_that_splits_them():
    assert share("next token", "fsdp", "temporaries") < 0.2
    assert share("next token", "sequence", "temporaries") < 0.35


def test_caches_of_samplers_are_split_with_their_rows():
    assert share("words", "fsdp", "temporaries") < 0.2


@pytest.mark.slow  # each compiles two programs
@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("next token", "words", "image tokenizer")]
)
def test_every_program_needs_a_fraction_on_each_of_eight_devices(name):
    assert share(name, "fsdp", "all") < 0.2


@pytest.mark.slow  # each compiles two programs
@pytest.mark.parametrize("name", [name for name in sampling_cases(SIZE) if "cache" in name])
def test_caches_of_samplers_are_split_with_their_heads(name):
    assert share(name, "tensor", "temporaries") < 0.5

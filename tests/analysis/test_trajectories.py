"""Sets over the checkpoints of a run, and agreement of two runs, against brute force."""

import itertools
import json

import ml_dtypes
import numpy as np
import pytest

from jaxreason.analysis.agreement import agreement_curve
from jaxreason.analysis.equality import unchanged
from jaxreason.analysis.trajectories import first_touch, run_checkpoints, trajectory
from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.style import THEMES
from jaxreason.evaluation.trajectory_figures import agreement, evolution
from jaxreason.weights.safetensors_writing import write_safetensors

SHAPES = {"embedding": (30, 8), "layers/query": (2, 8, 8), "layers/norm": (2, 8)}


def save(path, tensors):
    entries = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    write_safetensors(path, entries, tensors.values())
    return path


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A base and six checkpoints of a walk in which weights also come back."""
    folder = tmp_path_factory.mktemp("walk")
    random = np.random.default_rng(0)
    states = [{name: random.normal(size=s).astype(np.float32) for name, s in SHAPES.items()}]
    for _ in range(6):
        state = {}
        for name, array in states[-1].items():
            draw = random.random(array.shape)
            moved = np.where(draw < 0.1, array + np.float32(0.01), array)
            state[name] = np.where(draw > 0.9, states[0][name], moved)
        states.append(state)
    return [save(folder / f"{n}.safetensors", state) for n, state in enumerate(states)], states


def flat(state):
    return np.concatenate([array.ravel() for array in state.values()])


def test_sets_against_brute_force(walk):
    paths, states = walk
    found = trajectory(paths[0], paths[1:])
    rows = [flat(state) for state in states]
    differs = [set(np.flatnonzero(~unchanged(rows[0], row))) for row in rows[1:]]
    final, ever = differs[-1], set()
    for step, changed, (last, now) in zip(
        found["steps"], differs, itertools.pairwise(rows), strict=True
    ):
        assert step["first"] == len(changed - ever)
        ever |= changed
        assert step["changed"] == len(changed)
        assert step["since_last"] == np.count_nonzero(~unchanged(last, now))
        assert step["ever"] == len(ever)
        assert step["in_final"] == len(changed & final)
        assert step["ever_outside_final"] == len(ever - final)
        assert step["precision"] == pytest.approx(len(changed & final) / len(changed))
        assert step["recall"] == pytest.approx(len(changed & final) / len(final))
    sets = found["sets"]
    assert ever >= final
    assert sets["transient"] == len(ever - final) > 0
    assert sets["final"] == len(final)
    assert sets["never"] + sets["transient"] + sets["final"] == sets["size"] == rows[0].size
    assert [item["matrix"] for item in found["matrices"]] == ["embedding", "query", "norm"]
    assert sum(item["transient"] for item in found["matrices"]) == sets["transient"]
    between = [step["since_last"] for step in found["steps"][1:]]
    assert found["consecutive"] == pytest.approx(np.mean(between) / sets["size"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_first_touch(walk):
    paths, states = walk
    for name, touched in first_touch(paths[0], paths[1:]):
        changed = np.stack([~unchanged(states[0][name], s[name]) for s in states[1:]])
        expected = np.where(changed.any(axis=0), changed.argmax(axis=0), -1)
        np.testing.assert_array_equal(touched, expected)
        assert touched.dtype == np.int32


def test_a_tolerance_hides_and_a_cast_hides(walk):
    paths, _ = walk
    assert trajectory(paths[0], paths[1:], tolerance=1.0)["sets"]["never"] == 384
    exact = trajectory(paths[0], paths[1:], "exact")["sets"]["never"]
    assert exact <= trajectory(paths[0], paths[1:], read_dtype="bfloat16")["sets"]["never"]


def test_a_run_that_never_moves(walk):
    paths, _ = walk
    found = trajectory(paths[0], [paths[0], paths[0]])
    assert found["sets"] == {"size": 384, "never": 384, "transient": 0, "final": 0}
    assert found["steps"][0]["recall"] is None


def test_other_models_and_nothing_are_refused(walk, tmp_path):
    paths, states = walk
    with pytest.raises(InputError, match="checkpoints is empty"):
        trajectory(paths[0], [])
    fewer = save(tmp_path / "x.safetensors", {"embedding": states[0]["embedding"]})
    with pytest.raises(InputError, match="layers/query is not the same in all"):
        trajectory(paths[0], [paths[1], fewer])
    with pytest.raises(FailureError, match="has no checkpoints"):
        run_checkpoints(tmp_path)


def test_checkpoints_of_a_run_are_found_in_order(tmp_path):
    for step in (100, 20, 3):
        (tmp_path / "run" / "checkpoints" / str(step)).mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "7.tmp").mkdir()
    run = tmp_path / "run"
    assert run_checkpoints(run) == [f"{run}@3", f"{run}@20", f"{run}@100"]


def test_agreement_against_brute_force(walk):
    paths, states = walk
    limits = [0.0, 1e-3, 0.015, 0.05]
    found = agreement_curve(paths[0], paths[2], paths[5], limits)
    base, first, second = (flat(states[n]).astype(np.float64) for n in (0, 2, 5))
    for name, difference in (
        ("agreement", first - second),
        ("first_to_base", first - base),
        ("second_to_base", second - base),
    ):
        expected = [np.mean(np.abs(difference) <= limit) for limit in limits]
        assert found[name] == pytest.approx(expected)
    assert found["size"] == base.size
    assert found == agreement_curve(paths[0], paths[2], paths[5], limits)
    assert (
        found["unrelated"]
        != agreement_curve(paths[0], paths[2], paths[5], limits, seed=1)["unrelated"]
    )


def test_the_control_for_unrelated_updates(tmp_path):
    """Independent Gaussian updates agree as published full and partial training nearly do.

    |N(0, 2 sigma^2)| is within 1e-4 for 95 %, at sigma = 3.6e-5, without anything in common.
    """
    random = np.random.default_rng(0)
    base = np.zeros(200_000, np.float32)
    first, second = 3.6e-5 * random.standard_normal((2, base.size)).astype(np.float32)
    paths = [
        save(tmp_path / f"{name}.safetensors", {"w": array})
        for name, array in (("base", base), ("first", first), ("second", second))
    ]
    found = agreement_curve(*paths, [1e-5, 1e-4, 1e-3])
    assert found["unrelated"] == pytest.approx(found["agreement"], abs=0.01)
    assert found["agreement"] == pytest.approx([0.156, 0.95, 1], abs=0.01)
    same = agreement_curve(paths[0], paths[1], paths[1], [0.0, 1e-5])
    assert same["agreement"] == [1, 1]
    assert same["unrelated"][1] < 0.2


def test_unrelated_updates_rounded_to_bfloat16_agree_on_most_weights(tmp_path):
    """At 1e-5 on more than half, at 1e-4 on nine tenths: the control says so too."""
    random = np.random.default_rng(0)
    base = (0.02 * random.normal(size=200_000)).astype(ml_dtypes.bfloat16)
    runs = [
        (base.astype(np.float64) + 3.6e-5 * random.normal(size=base.size)).astype(base.dtype)
        for _ in range(2)
    ]
    paths = [save(tmp_path / f"{n}.safetensors", {"w": w}) for n, w in enumerate([base, *runs])]
    found = agreement_curve(*paths, [1e-5, 1e-4, 1e-3])
    assert found["agreement"] == pytest.approx([0.55, 0.91, 1], abs=0.02)
    assert found["unrelated"] == pytest.approx(found["agreement"], abs=0.005)


def test_a_shift_of_all_weights_needs_no_relation(tmp_path):
    """Permuting an update that is alike everywhere changes nothing; its sign must stay."""
    paths = [
        save(tmp_path / f"{n}.safetensors", {"w": np.full(50, value, np.float32)})
        for n, value in enumerate((0, 1e-3, 1e-3))
    ]
    found = agreement_curve(*paths, [0.0, 1.5e-3])
    assert found["unrelated"] == found["agreement"] == [1, 1]
    assert found["first_to_base"] == found["second_to_base"] == [0, 1]


def test_nan_agrees_with_nothing(tmp_path):
    paths = [
        save(tmp_path / f"{n}.safetensors", {"w": np.array([1, value], np.float32)})
        for n, value in enumerate((1, np.nan, np.nan))
    ]
    assert agreement_curve(*paths, [0.0, 1.0])["agreement"] == [0.5, 0.5]


@pytest.mark.parametrize("limits", [[], [1e-3, 1e-5], [-1.0, 1.0], [float("nan")]])
def test_bad_tolerances(walk, limits):
    with pytest.raises(InputError, match="expected ascending numbers"):
        agreement_curve(*walk[0][:3], limits)


def test_figures(walk):
    paths, _ = walk
    found = trajectory(paths[0], paths[1:])
    curve = agreement_curve(*paths[:3])
    assert evolution(found, THEMES[0]).startswith(b"\x89PNG")
    assert agreement({"a and b": curve, "a and c": curve}, THEMES[1]).startswith(b"\x89PNG")
    assert evolution(trajectory(paths[0], paths[1:2]), THEMES[0]) is None
    assert agreement({}, THEMES[0]) is None

"""Checkpoints: damage is found and survived, strangers are refused, keys and values round trip."""

import json
import os
import shutil
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import training_toy as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.errors import FailureError, InputError
from jaxreason.training.checkpoint import Checkpoints, checkpoint_steps, load_params
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.state import abstract_state, init_state

# When a read fails, Orbax leaves the coroutines of its other reads behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OPTIMIZER = make_optimizer(toy.OPTIMIZER)
EXTRA = {"step": 0, "sums": None}


def state_at(step, mesh=None):
    state = init_state(toy.init, OPTIMIZER, jax.random.key(step), mesh)
    return state._replace(step=state.step + step)


def plain(tree):
    keys = jax.dtypes.prng_key
    return jax.tree.map(
        lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, keys) else x), tree
    )


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, plain(first), plain(second))


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory):
    """A run with checkpoints of steps 1 and 2."""
    run = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(run)
    for step in (1, 2):
        checkpoints.save(state_at(step), {**EXTRA, "step": step}, {"index": step})
    checkpoints.close()
    return run


@pytest.fixture
def run(two_saved, tmp_path):
    """A copy of it that may be harmed."""
    return shutil.copytree(two_saved, tmp_path / "run")


def restore(run, mesh=None):
    said = []
    checkpoints = Checkpoints(run, warn=said.append)
    try:
        state, extra = checkpoints.restore(abstract_state(toy.init, OPTIMIZER, mesh))
    finally:
        checkpoints.close()
    return state, extra, said


def harm_values(run, part, harm):
    """Do `harm` to the files that hold values; Orbax may keep a second, unused copy of some."""
    paths = list((run / "checkpoints" / "2" / part).glob("**/d/*"))
    assert paths
    for path in paths:
        harm(path)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def delete(path):
    path.unlink()


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("mesh", [None, (4, 2), (2, 4)])
def test_state_and_key_round_trip_onto_any_mesh(two_saved, mesh):
    state, extra, said = restore(two_saved, mesh and toy.toy_mesh(*mesh))
    assert_same(state, state_at(2))
    assert state.key.dtype == jax.random.key(0).dtype
    assert (extra["step"], extra["data"], said) == (2, {"index": 2}, [])
    if mesh:
        assert state.params["layers"]["up"].sharding.mesh.shape["tensor"] == mesh[1]


@pytest.mark.parametrize("harm", [truncate, delete, flip_bit])
@pytest.mark.parametrize("part", ["params", "training"])
def test_damaged_newest_is_reported_and_the_one_before_used(run, harm, part):
    harm_values(run, part, harm)
    state, extra, said = restore(run)
    assert_same(state, state_at(1))
    assert extra["data"] == {"index": 1}
    assert len(said) == 1
    assert said[0].startswith("checkpoint of step 2 is damaged (")
    assert checkpoint_steps(run) == [1]
    assert (run / "damaged" / "2").is_dir()


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "params/_METADATA", "manifest"])
@pytest.mark.parametrize("harm", [truncate, delete])
def test_damaged_metadata_are_found_too(run, name, harm):
    path = run / "checkpoints" / "2" / name
    if name == "manifest":
        path = run / "checkpoints" / "2" / "params" / "manifest.ocdbt"
    harm(path)
    state, _, said = restore(run)
    assert_same(state, state_at(1))
    assert len(said) == 1


def test_tampered_position_is_damage(run):
    path = run / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    path.write_text(path.read_text().replace('\\"index\\": 2', '\\"index\\": 7'))
    _, extra, said = restore(run)
    assert extra["data"] == {"index": 1}
    assert "checksum" in said[0]


def test_damaged_step_can_be_saved_again(run):
    harm_values(run, "params", truncate)
    checkpoints = Checkpoints(run, warn=lambda text: None)
    checkpoints.restore(abstract_state(toy.init, OPTIMIZER))
    checkpoints.save(state_at(2), {**EXTRA, "step": 2}, {"index": 2})
    checkpoints.close()
    assert_same(restore(run)[0], state_at(2))


def test_other_model_is_refused_at_its_first_difference(two_saved):
    def wider(key):
        params = toy.init(key)
        return {**params, "head": jnp.zeros((toy.WIDTH, 20))}

    def deeper(key):
        return {**toy.init(key), "extra_norm": jnp.ones(3)}

    def poorer(key):
        return {name: x for name, x in toy.init(key).items() if name != "final_norm"}

    for init, message in (
        (wider, r"params/head is \[8, 16\] float32 in the checkpoint, \[8, 20\] float32 here"),
        (deeper, r"params/extra_norm \[3\] float32 is not in the checkpoint"),
        (poorer, r"params/final_norm is in the checkpoint but not in this run"),
    ):
        checkpoints = Checkpoints(two_saved)
        with pytest.raises(InputError, match=message):
            checkpoints.restore(abstract_state(init, OPTIMIZER))
        checkpoints.close()
    assert checkpoint_steps(two_saved) == [1, 2]


def test_params_are_loaded_alone(two_saved, run, tmp_path):
    abstract = abstract_state(toy.init, OPTIMIZER).params
    params, step = load_params(two_saved, abstract)
    assert step == 2
    assert_same(params, state_at(2).params)
    assert_same(load_params(two_saved, abstract, step=1)[0], state_at(1).params)
    with pytest.raises(FailureError, match=r"no checkpoint of step 5 .* steps there: \[1, 2\]"):
        load_params(two_saved, abstract, step=5)
    with pytest.raises(FailureError, match="no checkpoint in"):
        load_params(tmp_path, abstract)
    with pytest.raises(InputError, match="head"):
        load_params(two_saved, {**abstract, "head": jax.ShapeDtypeStruct((1, 2), jnp.float32)})
    harm_values(run, "params", flip_bit)
    with pytest.raises(FailureError, match=r"damaged|does not hold"):
        load_params(run, abstract)
    assert checkpoint_steps(run) == [1, 2], "reading changes nothing"


def test_newest_and_every_kth_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=2, keep_every=4)
    for step in range(1, 8):
        checkpoints.save(state_at(step), {**EXTRA, "step": step}, None)
    checkpoints.close()
    assert checkpoint_steps(tmp_path) == [4, 6, 7]


def test_save_is_a_snapshot_although_the_state_is_donated(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = state_at(1)
    wanted = plain(state)
    checkpoints.save(state, {**EXTRA, "step": 1}, None)
    spoil = jax.jit(lambda p: jax.tree.map(lambda x: x * 0 - 1, p), donate_argnums=0)
    spoil(state.params)
    checkpoints.close()
    restored, _, _ = restore(tmp_path)
    assert_same(restored, wanted._replace(key=jax.random.wrap_key_data(wanted.key)))


@given(
    array=hnp.arrays(
        st.sampled_from([np.float32, np.int32, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    ),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_fingerprint_sees_every_flipped_bit(array, data):
    before = fingerprint([jnp.asarray(array)])
    changed = array.copy().reshape(-1)
    index = data.draw(st.integers(0, changed.size - 1))
    if array.dtype == np.bool_:
        changed[index] = not changed[index]
    else:
        words = changed.view(f"u{changed.itemsize}")
        words[index] ^= 1 << data.draw(st.integers(0, 8 * changed.itemsize - 1))
    assert fingerprint([jnp.asarray(changed.reshape(array.shape))]) != before


def test_metadata_are_readable_json(two_saved):
    text = (two_saved / "checkpoints" / "2" / "_CHECKPOINT_METADATA").read_text()
    body = json.loads(json.loads(text)["custom_metadata"]["json"])
    assert ["params/head", [8, 16], "float32"] in body["structure"]
    assert len(body["structure"]) == len(body["fingerprint"])


@pytest.mark.parametrize("error", [PermissionError("no"), ValueError("RESOURCE_EXHAUSTED: memory")])
def test_a_read_that_fails_for_other_reasons_does_not_condemn_checkpoints(run, monkeypatch, error):
    def fail(path, parts):
        raise error

    monkeypatch.setattr("orbax.checkpoint.v1.load_checkpointables", fail)
    with pytest.raises(FailureError, match=r"could not be read .* left alone"):
        restore(run)
    assert checkpoint_steps(run) == [1, 2]


def test_a_checkpoint_with_a_list_of_one_data_position_is_still_read(run):
    path = run / "checkpoints" / "2" / "_CHECKPOINT_METADATA"
    document = json.loads(path.read_text())
    saved = document["custom_metadata"]

    def keep(data):
        saved["json"] = json.dumps({**json.loads(saved["json"]), "data": data})
        saved["crc32"] = zlib.crc32(saved["json"].encode())
        path.write_text(json.dumps(document))

    keep([{"index": 2}])
    assert restore(run)[1]["data"] == {"index": 2}
    keep([{"index": 2}, {"index": 2}])
    with pytest.raises(InputError, match="with 2 data positions, one for each process"):
        restore(run)
    assert checkpoint_steps(run) == [1, 2]

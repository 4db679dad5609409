"""A sparse difference gives the new checkpoint back bit for bit, or says why it cannot."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxreason.analysis import delta_blocks
from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.delta import apply_delta, make_delta
from jaxreason.analysis.delta_blocks import as_integers, decode_block, encode_block
from jaxreason.analysis.delta_file import MAGIC, DeltaIndex, read_delta
from jaxreason.errors import FailureError, InputError
from jaxreason.weights.safetensors_writing import write_safetensors

DTYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16),
    *(ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, np.int8, np.int64, np.bool_),
]


def save(path, tensors, metadata=None):
    entries = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    write_safetensors(path, entries, tensors.values(), metadata)
    return path


def bits(path):
    tensors = open_checkpoint(path).tensors.values()
    return {item.name: (item.dtype, item.shape, item.read().tobytes()) for item in tensors}


def update(array, density, seed=0):
    """Some entries moved to a neighbouring float, as post-training does."""
    random = np.random.default_rng(seed)
    integers = as_integers(array).copy()
    step = np.where(random.random(integers.size) < 0.5, 1, -1).astype(integers.dtype)
    integers += np.where(random.random(integers.size) < density, step, 0).astype(integers.dtype)
    return integers.view(array.dtype).reshape(array.shape)


def weights(shape, dtype, seed=0):
    return (np.random.default_rng(seed).normal(size=shape) * 0.02).astype(dtype)


@pytest.fixture
def pair(tmp_path):
    base = {
        "embedding": weights((40, 16), ml_dtypes.bfloat16),
        "layers.0.norm": np.ones(16, np.float32),
        "layers.0.query": weights((16, 16), np.float32, 1),
        "empty": np.zeros((0, 3), np.float16),
        "scalar": np.array(2.0, np.float32),
    }
    new = base | {
        "embedding": update(base["embedding"], 0.1),
        "layers.0.query": update(base["layers.0.query"], 1),
        "scalar": np.array(-0.0, np.float32),
    }
    return save(tmp_path / "base.safetensors", base), save(tmp_path / "new.safetensors", new)


def patterns(dtype, size):
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    top = 1 if dtype == np.bool_ else np.iinfo(unsigned).max
    return hnp.arrays(unsigned, size, elements=st.integers(0, int(top)))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_bits_come_back(data):
    unsigned = data.draw(st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]))
    size = data.draw(st.integers(1, 300))
    before = data.draw(patterns(unsigned, size))
    after = np.where(data.draw(hnp.arrays(bool, size)), data.draw(patterns(unsigned, size)), before)
    packed, changed = encode_block(before, after)
    assert changed == np.count_nonzero(before != after)
    assert (packed == b"") == (changed == 0)
    np.testing.assert_array_equal(decode_block(before, packed), after)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("density", [0.001, 0.05, 0.39, 0.41, 1.0])
def test_every_dtype_and_density(tmp_path, dtype, density, monkeypatch):
    monkeypatch.setattr("jaxreason.analysis.delta.BLOCK", 1000)
    monkeypatch.setattr("jaxreason.analysis.delta_file.BLOCK", 1000)
    before = weights((50, 70), np.float32) * 400
    before = (before > 0) if dtype == np.bool_ else before.astype(dtype)
    after = ~before if dtype == np.bool_ else update(before, density)
    base = save(tmp_path / "base.safetensors", {"w": before})
    new = save(tmp_path / "new.safetensors", {"w": after})
    made = make_delta(base, new, tmp_path / "d", threads=2)
    assert made.changed == np.count_nonzero(as_integers(before) != as_integers(after))
    assert made.delta_bytes == (tmp_path / "d").stat().st_size
    apply_delta(base, tmp_path / "d", tmp_path / "out.safetensors", threads=2)
    assert bits(tmp_path / "out.safetensors") == bits(new)


def test_signed_zeros_nan_payloads_and_infinities(tmp_path):
    before = np.array([0x00000000, 0x7FC00001, 0x3F800000, 0x7F800000, 1], np.uint32)
    after = np.array([0x80000000, 0x7FC00002, 0xFF800000, 0x7F800001, 0xFFFFFFFF], np.uint32)
    base = save(tmp_path / "base.safetensors", {"w": before.view(np.float32)})
    new = save(tmp_path / "new.safetensors", {"w": after.view(np.float32)})
    assert make_delta(base, new, tmp_path / "d").changed == 5
    apply_delta(base, tmp_path / "d", tmp_path / "out")
    found = open_checkpoint(tmp_path / "out" / "model.safetensors").read("w")
    np.testing.assert_array_equal(found.view(np.uint32), after)


def test_mixed_dtypes_empty_tensors_and_scalars(pair, tmp_path):
    make_delta(*pair, tmp_path / "d")
    made = apply_delta(pair[0], tmp_path / "d", tmp_path / "out.safetensors")
    assert bits(tmp_path / "out.safetensors") == bits(pair[1])
    assert made.tensors == 5
    assert made.entries == 40 * 16 + 16 + 256 + 1


def test_reading_back_with_the_reference_implementation(pair, tmp_path):
    reader = pytest.importorskip("safetensors.numpy")
    make_delta(*pair, tmp_path / "d")
    apply_delta(pair[0], tmp_path / "d", tmp_path / "out.safetensors")
    found = reader.load_file(tmp_path / "out.safetensors")
    wanted = bits(pair[1])
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: data for name, (_, _, data) in wanted.items()
    }


def test_no_difference_is_almost_nothing(pair, tmp_path):
    made = make_delta(pair[0], pair[0], tmp_path / "d")
    assert made.changed == 0
    assert made.delta_bytes < 2000
    apply_delta(pair[0], tmp_path / "d", tmp_path / "out.safetensors")
    assert bits(tmp_path / "out.safetensors") == bits(pair[0])


@pytest.mark.parametrize(("density", "bits_per_change"), [(0.01, 11), (0.2, 6)])
def test_size_is_near_the_entropy(density, bits_per_change):
    """Positions need H(p) / p bits (8.1 and 3.6), a step up or down one."""
    before = as_integers(weights(1 << 20, ml_dtypes.bfloat16))
    after = as_integers(update(before, density))
    packed, changed = encode_block(before, after)
    assert 8 * len(packed) < bits_per_change * changed


def test_noise_is_stored_at_its_own_size():
    random = np.random.default_rng(0)
    before, after = random.integers(0, 1 << 32, (2, 50_000), np.uint32)
    packed, _ = encode_block(before, after)
    assert len(packed) < 4 * 50_000 + 30


def test_difference_of_what_is_served(tmp_path):
    before = weights((64, 64), np.float32)
    after = before + np.float32(1e-6) * weights((64, 64), np.float32, 1)
    base = save(tmp_path / "base.safetensors", {"w": before, "n": np.arange(3)})
    new = save(tmp_path / "new.safetensors", {"w": after, "n": np.arange(3)})
    served = after.astype(ml_dtypes.bfloat16)
    made = make_delta(base, new, tmp_path / "d", read_dtype="bfloat16")
    assert made.changed < 20 < make_delta(base, new, tmp_path / "d32").changed
    half = {"w": before.astype(ml_dtypes.bfloat16), "n": np.arange(3)}
    for number, source in enumerate([base, save(tmp_path / "half.safetensors", half)]):
        out = tmp_path / f"{number}.safetensors"
        apply_delta(source, tmp_path / "d", out)
        assert open_checkpoint(out).read("w").tobytes() == served.tobytes()


def test_another_base_is_refused(pair, tmp_path):
    make_delta(*pair, tmp_path / "d")
    with pytest.raises(InputError, match=r"is not the base of .*: tensor embedding holds other"):
        apply_delta(pair[1], tmp_path / "d", tmp_path / "some" / "out")
    assert not (tmp_path / "some").exists()
    done = apply_delta(pair[0], tmp_path / "d", tmp_path / "some" / "out")
    found, wanted = (open_checkpoint(path).read("embedding") for path in (done.path, pair[1]))
    assert found.tobytes() == wanted.tobytes()


def test_checkpoints_of_different_models_are_refused(pair, tmp_path):
    other = save(tmp_path / "other.safetensors", {"embedding": np.zeros((2, 2), np.float32)})
    words = r"different models: embedding is bfloat16 \[40, 16\] .* float32 \[2, 2\] .*; and 2 more"
    with pytest.raises(InputError, match=words):
        make_delta(pair[0], other, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    make_delta(*pair, tmp_path / "d")
    with pytest.raises(InputError, match="different models"):
        apply_delta(other, tmp_path / "d", tmp_path / "out.safetensors")


def test_every_damaged_byte_is_found(tmp_path):
    before = weights((30, 4), ml_dtypes.bfloat16)
    base = save(tmp_path / "base.safetensors", {"w": before, "v": before[0]})
    new = save(tmp_path / "new.safetensors", {"w": update(before, 0.2), "v": before[0]})
    make_delta(base, new, tmp_path / "d")
    whole = (tmp_path / "d").read_bytes()
    broken, opened = tmp_path / "broken", open_checkpoint(base)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        broken.write_bytes(damaged)
        with pytest.raises((FailureError, InputError)):
            apply_delta(opened, broken, tmp_path / "out.safetensors", threads=1)
    for length in range(len(whole)):
        broken.write_bytes(whole[:length])
        with pytest.raises((FailureError, InputError)):
            apply_delta(opened, broken, tmp_path / "out.safetensors", threads=1)
    broken.write_bytes(whole + b"\0")
    with pytest.raises(FailureError, match="damaged"):
        apply_delta(opened, broken, tmp_path / "out.safetensors")
    assert not list(tmp_path.glob("out*"))


def test_a_damaged_block_is_named_before_anything_is_written(pair, tmp_path, monkeypatch):
    make_delta(*pair, tmp_path / "d")
    data = bytearray((tmp_path / "d").read_bytes())
    data[len(MAGIC) + 3] ^= 1
    (tmp_path / "d").write_bytes(data)
    monkeypatch.setattr("jaxreason.analysis.delta.write_safetensors", pytest.fail)
    with pytest.raises(FailureError, match=r"damaged \(tensor embedding, block 0\)"):
        apply_delta(pair[0], tmp_path / "d", tmp_path / "out.safetensors")


def test_bytes_that_no_checksum_covers_are_refused(tmp_path):
    index = DeltaIndex((), None)
    (tmp_path / "d").write_bytes(MAGIC + index.trailer())
    assert read_delta(tmp_path / "d") == index
    (tmp_path / "d").write_bytes(MAGIC + b"more" + index.trailer())
    with pytest.raises(FailureError, match="4 bytes belong to no tensor"):
        read_delta(tmp_path / "d")


def test_damage_that_kept_its_checksum_is_found_in_the_values(pair, tmp_path, monkeypatch):
    make_delta(*pair, tmp_path / "d")
    real = delta_blocks.decode_block
    monkeypatch.setattr(
        "jaxreason.analysis.delta.decode_block", lambda before, data: real(before, data) ^ 1
    )
    with pytest.raises(FailureError, match="tensor embedding has another checksum"):
        apply_delta(pair[0], tmp_path / "d", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_damaged_blocks_never_do_harm(place, value, cut):
    """Whatever the bytes: either an answer of the right size or DamagedBlock."""
    before = as_integers(weights(400, ml_dtypes.bfloat16))
    packed = bytearray(encode_block(before, as_integers(update(before, 0.2)))[0])
    place %= len(packed)
    packed[place] = value
    try:
        after = decode_block(before, bytes(packed[:place] if cut else packed))
    except delta_blocks.DamagedBlock:
        return
    assert after.shape == before.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [({"read_dtype": "int4"}, "read_dtype is 'int4'"), ({"threads": 0}, "threads is 0")],
)
def test_bad_settings(pair, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        make_delta(*pair, tmp_path / "d", **options)


def test_what_exists_is_not_overwritten(pair, tmp_path):
    make_delta(*pair, tmp_path / "d")
    with pytest.raises(InputError, match="exists"):
        apply_delta(pair[0], tmp_path / "d", pair[1])
    before = pair[1].read_bytes()
    for path in (pair[1], tmp_path):
        with pytest.raises(InputError, match="exists and is no difference"):
            make_delta(*pair, path)
    assert pair[1].read_bytes() == before
    make_delta(*pair, tmp_path / "d")  # an earlier difference is


def test_a_full_disk_leaves_nothing(pair, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(FailureError, match="disk is full"):
        make_delta(*pair, tmp_path / "d")
    assert not list(tmp_path.glob("d*"))


def test_header_carries_metadata(tmp_path):
    path = save(tmp_path / "a.safetensors", {"w": np.ones(2, np.float32)}, {"format": "pt"})
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    assert len(data) % 8 == 0

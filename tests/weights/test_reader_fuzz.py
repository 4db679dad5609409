"""A thousand damaged files for each reader: each is read, or refused in one sentence.

Nothing else is raised, nothing takes long, and no file of a few kilobytes takes megabytes.
"""

import json
import random
import signal
import tracemalloc

import golden_llada
import jax.numpy as jnp
import pytest
import tiny_models

from jaxreason.errors import FailureError, InputError
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.pretrained import pretrained_model
from jaxreason.training.runs import read_experiment
from jaxreason.weights.folders import INDEX, open_weights
from jaxreason.weights.llada import export_llada
from jaxreason.weights.llada_settings import LladaMetadata
from jaxreason.weights.pretrained import pretrained_config

FILES = 1000
MOST_BYTES = 20_000_000
MOST_SECONDS = 20
VALUES = (
    *("null", "true", "-1", "0", "0.5", "1e400", "NaN", "9" * 19, "9" * 400, "9" * 5000),
    *("[]", "{}", "[[]]", '""', '".."', '"/etc/passwd"', '"../model.safetensors"', '"a.bin"'),
    *('"\\ud800"', '"\\u0000"', f'"{"x" * 3000}"', "[" * 5000, '{"a":' * 5000, "[0, 99999999999]"),
    *(
        "[4611686018427387904, 0]",
        f"[{'1,' * 200}1]",
        "[9223372036854775807, 2]",
        '{"a": 1, "a": 2}',
    ),
)


def cut_and_flipped(content, draw):
    """The bytes with one thing wrong."""
    place = draw.randrange(len(content))
    match draw.randrange(4):
        case 0:
            return content[:place]
        case 1:
            return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
        case 2:
            return content[:place] + content[place + draw.randrange(1, 100) :]
        case _:
            other = draw.randrange(len(content))
            return content[:place] + content[other : other + 80] + content[place:]


def with_other_value(text, draw):
    """JSON text with one value, somewhere in it, that means something else; or a name twice."""
    document = json.loads(text)
    holes = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            holes.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(document)
    node, key = draw.choice(holes)
    if isinstance(node, dict) and draw.random() < 0.2:
        value = node.pop(key)
        if draw.random() < 0.5:
            node["unknown"] = value
        return json.dumps(document)
    node[key] = "<<hole>>"
    return json.dumps(document).replace('"<<hole>>"', draw.choice(VALUES))


def damaged_text(content, draw):
    if draw.random() < 0.4:
        return cut_and_flipped(content, draw)
    return with_other_value(content.decode(), draw).encode()


def damaged_tensors(content, draw):
    """A safetensors file; half of the time only its header is wrong, not the header's length."""
    if draw.random() < 0.3:
        return cut_and_flipped(content, draw)
    length = int.from_bytes(content[:8], "little")
    if draw.random() < 0.1:
        return draw.randbytes(8) + content[8:]
    header = damaged_text(content[8 : 8 + length].rstrip(), draw)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def read_all(folder):
    for array in open_weights(folder).values():
        array.tobytes()


def too_long(*_):
    raise TimeoutError("a reader hangs")


def survives(file, reader, damage):
    """Reads a thousand damaged copies of a file; returns how many were refused."""
    whole, draw, refused = file.read_bytes(), random.Random(file.name), 0
    sentences = set()
    signal.signal(signal.SIGALRM, too_long)
    tracemalloc.start()
    try:
        for number in range(FILES):
            content = damage(whole, draw)
            file.write_bytes(content)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            signal.alarm(MOST_SECONDS)
            try:
                reader(file.parent)
            except (InputError, FailureError) as error:
                refused += 1
                sentences.add(str(error))
            except Exception as error:
                raise AssertionError(f"file {number}, {content[:2000]!r}: {error!r}") from error
            finally:
                signal.alarm(0)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < MOST_BYTES, (number, content[:2000])
    finally:
        tracemalloc.stop()
        file.write_bytes(whole)
    reader(file.parent)  # it was the damage that was refused
    assert len(sentences) > 20
    assert all(0 < len(said) < 1500 for said in sentences), max(sentences, key=len)[:3000]
    return refused


@pytest.fixture
def folder(tmp_path):
    """A published folder of two files and an index."""
    place = tmp_path / "published"
    tiny_models.write_tiny_model(
        place, "qwen3", layers=1, tokenizer=False, shard_bytes=12_000, vocabulary_size=64
    )
    return place


def test_damaged_safetensors_files(folder):
    assert survives(min(folder.glob("*.safetensors")), read_all, damaged_tensors) > FILES // 2


def test_damaged_indices(folder):
    assert survives(folder / INDEX, read_all, damaged_text) > FILES // 2


def test_damaged_configurations(folder):
    assert survives(folder / "config.json", pretrained_config, damaged_text) > FILES // 2


def test_damaged_configurations_of_diffusion_models(tmp_path):
    config = golden_llada.golden_config()
    known = LladaMetadata("bool", 50, 8, 59, 58)
    export_llada(
        golden_llada.golden_params(dtype=jnp.bfloat16), tmp_path / "a", config, metadata=known
    )
    assert survives(tmp_path / "a" / "config.json", pretrained_model, damaged_text) > FILES // 2


def test_damaged_configurations_of_runs(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(MazeExperiment().as_json()))
    assert survives(file, read_experiment, damaged_text) > FILES // 2

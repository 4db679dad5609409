"""A command that starts a second time compiles nothing: its programs are in the cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxreason.training.cache import enable_compilation_cache

ROOT = Path(__file__).parents[2]
TINY = (
    *("--model.layers", "2", "--model.width", "16", "--model.heads", "2", "--model.kv-heads", "1"),
    *("--model.head-size", "8", "--model.mlp-width", "32", "--model.unroll", "1"),
    *("--data.width", "4", "--data.height", "4", "--data.count", "64"),
    *("--batch.batch-size", "8", "--batch.length", "192", "--train.steps", "3"),
    *("--train.evaluate-every", "2", "--train.save-every", "2", "--validation-examples", "8"),
)


def start(folder, *arguments):
    """What `cache_counts.py` counts for a start of the command in a fresh process."""
    counts = ROOT / "experiments" / "benchmarks" / "cache_counts.py"
    output = folder / "counts.json"
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        # Every program is kept, so that nothing depends on how fast this machine compiles.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment["XLA_FLAGS"] = environment["XLA_FLAGS"].replace("count=8", "count=1")
    command = [sys.executable, str(counts), str(output), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["code"] == 0, done.stderr
    return found


@pytest.mark.slow
def test_training_started_again_compiles_nothing(tmp_path):
    file = str(ROOT / "experiments/maze/tiny.py")
    first = start(tmp_path, "train", file, "--run", str(tmp_path / "one"), *TINY)
    assert first["compiled"] == first["written"] > 2  # the step and the evaluation among them
    second = start(tmp_path, "train", file, "--run", str(tmp_path / "two"), *TINY)
    assert second["compiled"] == 0
    assert second["hits"] == second["programs"] > 2


@pytest.mark.slow
def test_evaluation_started_again_compiles_nothing(tmp_path):
    file, run = str(ROOT / "experiments/maze/tiny.py"), str(tmp_path / "run")
    start(tmp_path, "train", file, "--run", run, *TINY)
    evaluate = ("evaluate", run, "--count", "8", "--max-new-tokens", "16")
    first, second = start(tmp_path, *evaluate), start(tmp_path, *evaluate)
    assert first["compiled"] > 0
    assert second["compiled"] == 0
    assert second["hits"] == second["programs"] > 0


@pytest.fixture
def settings_restored():
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


def test_what_compiled_before_does_not_settle_the_cache(tmp_path, settings_restored):
    """JAX looks for its cache once in a process, at the first program, which may be a user's."""
    jax.jit(lambda x: x + 1)(jnp.zeros(3))
    enable_compilation_cache(tmp_path / "named")
    jax.jit(lambda x: x * 3 + 17)(jnp.zeros(5))
    assert list((tmp_path / "named").iterdir())


def test_urls_are_left_to_jax(settings_restored, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert enable_compilation_cache("gs://bucket/cache") == "gs://bucket/cache"
    assert jax.config.jax_compilation_cache_dir == "gs://bucket/cache"
    assert not list(tmp_path.iterdir())


def test_the_least_compile_time_is_the_users_where_set(settings_restored, monkeypatch, tmp_path):
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 7.0)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "7")
    enable_compilation_cache(tmp_path)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 7.0
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    enable_compilation_cache(tmp_path)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.5

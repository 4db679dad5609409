"""Compile time against depth, scanned and unrolled, and what second starts take from the cache.

    python experiments/benchmarks/one.py compile_time [--quick]

The training step of a small model with 2, 8 and 32 layers is lowered and compiled for the CPU and,
where libtpu is installed, for a TPU v5e chip that is not there. A depth is compared with 2 layers:
its "times as fast" falls with the number of layers where compile time grows with it. Then
`jaxreason train` and `jaxreason evaluate` start twice with an empty cache folder.
Hardware: any; two minutes on two cores with `--quick`, ten without.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from suite import FOLDER, Peer, Row

from jaxreason.errors import FailureError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import next_token
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.sharding.topologies import LIBTPU_ENVIRONMENT, prepare_libtpu, topology_devices
from jaxreason.training.state import abstract_state
from jaxreason.training.step import make_step

DEPTHS = (2, 8, 32)
TINY = (
    *("--model.layers", "2", "--model.width", "16", "--model.heads", "2", "--model.kv-heads", "1"),
    *("--model.head-size", "8", "--model.mlp-width", "32", "--model.unroll", "1"),
    *("--data.width", "4", "--data.height", "4", "--data.count", "64"),
    *("--batch.batch-size", "8", "--batch.length", "192", "--train.steps", "3"),
    *("--train.evaluate-every", "2", "--train.save-every", "2", "--validation-examples", "8"),
)
"""A run of a few seconds that trains, evaluates and saves."""


def lowered_step(layers: int, scanned: bool, mesh: Mesh | None) -> jax.stages.Lowered:
    """The training step of a model of this depth, from shapes alone."""
    config = TransformerConfig(256, layers, 128, 4, 4, 32, 384, unroll=1 if scanned else layers)
    model, optimizer = Transformer(config), optax.adamw(1e-4)
    rows: Any = {
        name: jax.ShapeDtypeStruct((8, 128), dtype)
        for name, dtype in (
            ("tokens", jnp.int32),
            ("targets_mask", jnp.bool_),
            ("segments", jnp.int32),
            ("positions", jnp.int32),
        )
    }
    state = abstract_state(model.init, optimizer, mesh)
    return make_step(next_token(model), optimizer, mesh).lower(state, rows)


def seconds_to_compile(layers: int, scanned: bool, mesh: Mesh | None) -> tuple[float, float]:
    """Seconds to trace and lower, and seconds to compile; nothing comes from a cache."""
    jax.clear_caches()
    jax.config.update("jax_enable_compilation_cache", False)
    start = time.perf_counter()
    lowered = lowered_step(layers, scanned, mesh)
    middle = time.perf_counter()
    lowered.compile()
    return middle - start, time.perf_counter() - middle


def depth_rows(platform: str, mesh: Mesh | None, depths: tuple[int, ...]) -> list[Row]:
    """Seconds by depth, scanned and unrolled."""
    rows = []
    for scanned in (True, False):
        first = None
        for layers in depths:
            lowering, compiling = seconds_to_compile(layers, scanned, mesh)
            first = lowering + compiling if first is None else first
            rows.append(
                Row(
                    "compile_time",
                    f"training step for {platform}, {'scanned' if scanned else 'unrolled'}, "
                    f"{layers} layers",
                    lowering + compiling,
                    "s",
                    peer="2 layers, same way" if layers != depths[0] else "",
                    peer_value=first if layers != depths[0] else None,
                    ratio=first / (lowering + compiling) if layers != depths[0] else None,
                    note=f"lowering {lowering:.2f} s; measured once",
                )
            )
    return rows


def tpu_rows(depths: tuple[int, ...]) -> list[Row]:
    """The same for a TPU, from a process of its own, which sees no other accelerator."""
    case = "training step for a TPU v5e"
    try:
        prepare_libtpu()
    except FailureError as error:
        return [Row("compile_time", case, None, "s", note=str(error))]
    command = [sys.executable, __file__, *map(str, depths)]
    environment = {**os.environ, **LIBTPU_ENVIRONMENT}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [Row(**row) for row in json.loads(done.stdout)]


def start_command(arguments: list[str], cache: Path, output: Path) -> dict[str, Any]:
    """The counts of `cache_counts.py` for one start of a command.

    Raises:
        RuntimeError: the command failed.
    """
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, str(FOLDER / "cache_counts.py"), str(output), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode or json.loads(output.read_text())["code"]:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return json.loads(output.read_text())


def cache_rows(folder: Path) -> list[Row]:
    """First and second starts of commands, every program kept."""
    tiny = str(FOLDER.parent / "maze" / "tiny.py")
    run, cache, output = str(folder / "run1"), folder / "cache", folder / "counts.json"
    again: dict[str, Callable[[int], list[str]]] = {
        "train": lambda n: ["train", tiny, "--run", str(folder / f"run{n}"), *TINY],
        "evaluate": lambda n: ["evaluate", run, "--count", "8", "--max-new-tokens", "16"],
    }
    rows = []
    for name, arguments in again.items():
        first, second = (start_command(arguments(n), cache, output) for n in (1, 2))
        note = f"first start compiled {first['compiled']:.0f} of {first['programs']:.0f} programs "
        note += f"in {first['seconds']:.1f} s; second read {second['hits']:.0f} in "
        note += f"{second['seconds']:.2f} s"
        case = f"jaxreason {name}, programs compiled at the second start"
        rows.append(
            Row("compile_time", case, second["compiled"], "programs", at_most=0.0, note=note)
        )
    return rows


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    del peer  # a depth is compared with another
    depths = DEPTHS[:2] if quick else DEPTHS
    rows = depth_rows("this machine's devices", None, depths) + tpu_rows(depths)
    with tempfile.TemporaryDirectory() as folder:
        return rows + cache_rows(Path(folder))


if __name__ == "__main__":
    one_chip = make_mesh(MeshConfig(), devices=topology_devices("v5e-1"))
    rows = depth_rows("a TPU v5e", one_chip, tuple(map(int, sys.argv[1:])))
    print(json.dumps([asdict(row) for row in rows]))

"""Comparing two checkpoints, and making and applying their sparse difference.

    python experiments/benchmarks/one.py comparison [--quick] [--peer-python PYTHON]

Two safetensors files, 5 % of the weights changed. `compare` counts under every rule of equality and
a sweep of tolerances and takes norms; the peer does what the authors' script does, one allclose
for each parameter under one tolerance. Both must find the same sparsity. The peer of the
difference is zlib at its fastest level, on the bytes of the new file.
Hardware: any; files of 15 MB with `--quick`, 400 MB without; about a minute or five.
"""

import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from suite import Contestant, Peer, Row, against, contestant, take_turns

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.comparison import CompareSettings, compare
from jaxreason.analysis.delta import apply_delta, make_delta
from jaxreason.models import Transformer, TransformerConfig, preset
from jaxreason.models.llama import to_llama
from jaxreason.weights.safetensors_writing import write_safetensors

DENSITY = 0.05
ALLCLOSE, RANK, ZLIB = "torch.allclose per parameter", "torch.linalg.matrix_rank", "zlib level 1"


def checkpoints(config: TransformerConfig, folder: Path) -> tuple[Path, Path, int]:
    """Two files whose weights differ at random places, and the number of weights."""
    params = jax.device_get(jax.jit(Transformer(config).init)(jax.random.key(0)))
    before = {name: np.ascontiguousarray(x) for name, x in to_llama(params, config).items()}
    draw = np.random.default_rng(0)
    after = {
        name: np.where(draw.random(x.shape) < DENSITY, x + np.float32(1e-2), x).astype(x.dtype)
        for name, x in before.items()
    }
    paths = folder / "before.safetensors", folder / "after.safetensors"
    for path, tensors in zip(paths, (before, after), strict=True):
        entries = {name: (x.dtype, x.shape) for name, x in tensors.items()}
        write_safetensors(path, entries, tensors.values())
    return (*paths, sum(x.size for x in before.values()))


def shape(quick: bool) -> TransformerConfig:
    """4 M parameters, or 100 M."""
    if quick:
        return preset("maze_small", 1000, layers=4, width=256, heads=4, kv_heads=4, mlp_width=704)
    return preset("maze_small", 1000, width=1024, heads=16, kv_heads=16, mlp_width=2816)


def ours(before: Path, after: Path, folder: Path) -> dict[str, Contestant]:
    """Our contestants: they read the files each time, as the command does."""

    def compared(rank: bool) -> Any:
        settings = CompareSettings(rank=rank)
        return compare(open_checkpoint(before), open_checkpoint(after), settings)

    difference = folder / "update.delta"
    copies = iter(range(10**6))
    return {
        "compare": contestant(partial(compared, False)),
        "compare with rank": contestant(partial(compared, True)),
        "make": contestant(lambda: make_delta(before, after, difference)),
        "apply": contestant(
            lambda: apply_delta(before, difference, folder / f"{next(copies)}.safetensors")
        ),
        ZLIB: contestant(lambda: zlib.compress(after.read_bytes(), 1)),
    }


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    config, rounds = shape(quick), 2 if quick else 5
    lacking = peer.lacks("torch")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, after, count = checkpoints(config, folder)
        full = after.stat().st_size
        contestants = ours(before, after, folder)
        if lacking:
            seconds = take_turns(contestants, rounds)
        else:
            settings = {"before": str(before), "after": str(after)}
            with peer.start("dense_comparison", settings) as other:
                check_same(before, after, other.facts["sparsity"])
                seconds = take_turns({**contestants, **other.contestants()}, rounds)
        share = (folder / "update.delta").stat().st_size / full
        packed = len(zlib.compress(after.read_bytes(), 1)) / full
    case = f"{count / 1e6:.0f} M float32 weights, {DENSITY:.0%} changed"
    fixed: dict[str, Any] = {"benchmark": "comparison", "unit": "M weights/s"}
    rows = []
    for label, names, what in (
        ("compare", [ALLCLOSE], "compare, without rank"),
        ("compare with rank", [RANK], "compare, with rank"),
    ):
        found = {"case": f"{what}, {case}", "missing": lacking, **fixed}
        rows += against(seconds, label, names, count / 1e6, **found)
    note = f"file is {share:.1%} of the checkpoint, zlib's {packed:.1%}"
    made = {"case": f"delta make, {case}", "note": note, **fixed}
    rows += against(seconds, "make", [ZLIB], count / 1e6, **made)
    rows += against(seconds, "apply", [], count / 1e6, case=f"delta apply, {case}", **fixed)
    return rows


def check_same(before: Path, after: Path, theirs: float) -> None:
    """Refuse to time two comparisons that do not agree.

    Raises:
        RuntimeError: gives both sparsities.
    """
    found = compare(open_checkpoint(before), open_checkpoint(after), CompareSettings(rank=False))
    mine = found.total().sparsity("absolute")
    assert mine is not None
    if abs(mine - theirs) > 1e-6:
        raise RuntimeError(f"ours finds {mine:.6f} of the weights unchanged, the peer {theirs:.6f}")

"""Training and decoding on one GPU: MFU, memory, the bandwidth bound, and what tricks are worth.

    python experiments/benchmarks/gpu.py [--only NAME ...] [--peer-python PYTHON] [--smoke]

Written for one H200 (139 GiB): 0.5 B parameters in the shape of Qwen2.5-0.5B with next-token loss,
8 B in MMaDA's shape with masked diffusion, random weights. Each variant runs in a process of its
own and changes one thing of its baseline, named in `VARIANTS`. A training program without cuDNN's
attention is an error. A variant that does not fit the memory is a row that says so. Peers are
transformers' Qwen2 in torch, compiled, with SDPA, on the same device, after ours; each says what it
does otherwise, and beside "as torch" it does nothing otherwise.
Everything in the table is computed from what was timed; MFU by `jaxreason.training.flops`.
`--smoke` runs the same code at tiny size on any device, without the check for cuDNN.
Writes results/gpu.json and results/gpu.md. It has not been run on a GPU yet.
Hardware: one NVIDIA GPU with bfloat16. Wall time: about 20 minutes, most of it compiling.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from gpu_cases import Case, measure_case
from gpu_peers import run_peers
from gpu_table import markdown
from suite import FOLDER, PeerError, find_peer

SMALL = Case("0.5 B", changes={"remat": "names"}, batch=8, length=4096, profile=True, peer=True)
LARGE = Case(
    "8 B",
    model="mmada_8b",
    changes={"remat": "full"},
    batch=4,
    length=2048,
    params_dtype="bfloat16",
    profile=True,
    peer=True,
)
DECODING = Case(
    "0.5 B decoding",
    kind="decoding",
    changes={"remat": "none"},
    batch=256,
    length=512,
    new_tokens=256,
    params_dtype="bfloat16",
    rounds=3,
)
AS_TORCH = "0.5 B, as torch: remat none, all logits at once"
VARIANTS: tuple[tuple[Case, dict[str, Any]], ...] = (
    # baseline, what one variant changes of it
    (SMALL, {}),
    (SMALL, {"name": AS_TORCH, "changes": {"remat": "none"}, "chunk": 0, "peer": True}),
    (SMALL, {"name": "0.5 B, packed rows (a mask)", "segments": True}),
    (SMALL, {"name": "0.5 B, remat none", "changes": {"remat": "none"}}),
    (SMALL, {"name": "0.5 B, remat dots", "changes": {"remat": "dots"}}),
    (SMALL, {"name": "0.5 B, remat full", "changes": {"remat": "full"}}),
    (SMALL, {"name": "0.5 B, batch 16", "batch": 16}),
    (SMALL, {"name": "0.5 B, all logits at once", "chunk": 0}),
    (SMALL, {"name": "0.5 B, chunks of 16,384 tokens", "chunk": 16384}),
    (SMALL, {"name": "0.5 B, 4 layers unrolled", "changes": {"remat": "names", "unroll": 4}}),
    (SMALL, {"name": "0.5 B, bfloat16 parameters", "params_dtype": "bfloat16"}),
    (
        SMALL,
        {
            "name": "0.5 B, plain XLA attention",
            "changes": {"remat": "names", "backend": "xla"},
            "cudnn": False,
        },
    ),
    (
        SMALL,
        {
            "name": "0.5 B, no Triton matrix products",
            "xla_flags": ("--xla_gpu_enable_triton_gemm=false",),
        },
    ),
    (
        SMALL,
        {
            "name": "0.5 B, latency-hiding scheduler",
            "xla_flags": ("--xla_gpu_enable_latency_hiding_scheduler=true",),
        },
    ),
    (
        SMALL,
        {
            "name": "0.5 B, no command buffers",
            "xla_flags": ("--xla_gpu_enable_command_buffer=",),
        },
    ),
    (LARGE, {}),
    (LARGE, {"name": "8 B, remat names", "changes": {"remat": "names"}, "batch": 1}),
    (LARGE, {"name": "8 B, float32 parameters", "params_dtype": "float32", "batch": 1}),
    (LARGE, {"name": "8 B, batch 8", "batch": 8}),
    (DECODING, {}),
    (DECODING, {"name": "0.5 B decoding, 1,024 rows", "batch": 1024}),
    (DECODING, {"name": "0.5 B decoding, float32 parameters", "params_dtype": "float32"}),
)
GOALS = {"0.5 B": {"mfu": 0.40}, "8 B": {"mfu": 0.50}, "0.5 B decoding": {"bound": 2.0}}
"""MFU at least, or times slower than the bandwidth bound at most."""


@dataclass(frozen=True)
class Gpu:
    """What to run.

    Attributes:
        only: names of variants, or the beginnings of them; all if empty.
        peer_python: interpreter with a torch that sees the GPU; by default this one, if it has.
        smoke: tiny sizes, any device, no check for cuDNN.
        output: folder for the table.
        case: internal: one case as JSON, whose figures go to standard output.
    """

    only: tuple[str, ...] = ()
    peer_python: str | None = None
    smoke: bool = False
    output: Path = FOLDER / "results"
    case: str = ""


def tiny(case: Case) -> Case:
    """The same case at a size for a CPU."""
    model = "mmada_tiny" if case.model.startswith("mmada") else "maze_tiny"
    changes = {name: value for name, value in case.changes.items() if name != "unroll"}
    if "unroll" in case.changes:
        changes["unroll"] = 2
    return replace(
        case,
        model=model,
        vocabulary=64,
        changes={**changes, "layers": 2, "width": 32, "mlp_width": 64, "head_size": 8},
        batch=2,
        length=16,
        new_tokens=8,
        chunk=min(case.chunk, 16),
        cudnn=False,
        rounds=1,
    )


def cases(settings: Gpu) -> list[Case]:
    """The variants asked for."""
    found = [
        replace(base, **({"profile": False, "peer": False, **changes} if changes else {}))
        for base, changes in VARIANTS
    ]
    chosen = [
        case
        for case in found
        if not settings.only or any(case.name.startswith(name) for name in settings.only)
    ]
    return [tiny(case) for case in chosen] if settings.smoke else chosen


def run_case(case: Case, smoke: bool) -> dict[str, Any]:
    """The figures of a case from a process of its own, or what went wrong as `failed`."""
    command = [sys.executable, str(FOLDER / "gpu.py"), "--case", json.dumps(asdict(case))]
    environment = dict(os.environ)
    environment["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *case.xla_flags])
    if not smoke:
        environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")
    with tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        errors.seek(0)
        told = errors.read()
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    reason = (told.strip().splitlines() or ["no message"])[-1]
    if "RESOURCE_EXHAUSTED" in told or "out of memory" in told.lower():
        reason = "does not fit the memory"
    return {"case": asdict(case), "failed": reason}


def main(settings: Gpu) -> int:
    """Run, write the files, print the table; 1 if a variant failed otherwise than for memory."""
    if settings.case:
        print(json.dumps(measure_case(json.loads(settings.case))))
        return 0
    from environment import environment

    try:
        peer = find_peer(settings.peer_python)
    except PeerError as error:
        print(error)
        return 2
    chosen = cases(settings)
    found = []
    for place, case in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {case.name}", file=sys.stderr, flush=True)
        found.append(run_case(case, settings.smoke))
    run_peers(found, peer, settings.smoke)
    # Last, for it takes the device in this process.
    report = {"smoke": settings.smoke, **environment(peer.versions), "goals": GOALS}
    report["cases"] = found
    name = "gpu_smoke" if settings.smoke else "gpu"
    settings.output.mkdir(parents=True, exist_ok=True)
    (settings.output / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    (settings.output / f"{name}.md").write_text(text)
    print(text)
    failures = [x for x in found if "failed" in x and "does not fit" not in x["failed"]]
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Gpu)))

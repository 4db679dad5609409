"""All benchmarks with one command, into one table.

    python experiments/benchmarks/run.py [--quick] [--only NAME ...] [--peer-python PYTHON]

Each benchmark runs in a process of its own, one after the other, against its peers in the same
rounds (see `suite.py`). Peers need torch, transformers and trl: in this environment, or in another
whose interpreter `--peer-python` names; without them rows have no ratio and name the command that
installs what is missing. `--quick` takes smaller shapes and fewer rounds, and the table says so.
Writes results/suite.json and results/suite.md (quick: suite_quick.*).
Hardware: any; take ratios from a quiet machine: the load when it began is in the table.
Wall time on two cores: about ten minutes with `--quick`, an hour without.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from environment import environment, load_average
from suite import FOLDER, Peer, PeerError, find_peer
from table import markdown

BENCHMARKS = {
    # module: what it measures
    "maze_generation": "mazes with A* traces against plain Python",
    "validation": "trace validation against the rules written out",
    "data_pipeline": "batches from mazes against plain Python",
    "data_wait": "share of a training step spent waiting for data",
    "training_speed": "training steps against transformers",
    "decoding_speed": "autoregressive decoding against transformers' generate",
    "diffusion_decoding": "diffusion decoding against LLaDA's algorithm in torch",
    "rl_step": "GRPO and UniGRPO steps by phase against TRL",
    "preference_step": "DPO steps against TRL",
    "mask_overhead": "update masks against plain AdamW",
    "comparison": "comparing checkpoints against the authors' torch.allclose",
    "compile_time": "compile time against depth, and second starts from the cache",
}


@dataclass(frozen=True)
class Suite:
    """What to run.

    Attributes:
        only: names of benchmarks; all if empty.
        quick: smaller shapes and fewer rounds.
        peer_python: interpreter that has torch; by default this one, if it has.
        threads: threads the peers use; by default one per core.
        output: folder for the table.
        name: of the files in it; by default suite, or suite_quick.
    """

    only: tuple[str, ...] = ()
    quick: bool = False
    peer_python: str | None = None
    threads: int | None = None
    output: Path = FOLDER / "results"
    name: str = ""


def measure_one(name: str, settings: Suite, peer: Peer) -> dict[str, Any]:
    """The rows of one benchmark from a process of its own, or how it failed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rows.json"
        command = [sys.executable, str(FOLDER / "one.py"), name, "--output", str(output)]
        command += ["--quick"] if settings.quick else []
        command += ["--peer-python", peer.python] if peer.python else []
        command += ["--threads", str(peer.threads)]
        load, start = load_average(), time.perf_counter()
        done = subprocess.run(command, stdin=subprocess.DEVNULL)
        found: dict[str, Any] = {
            "load_average_at_start": load,
            "seconds": round(time.perf_counter() - start, 1),
        }
        if done.returncode or not output.is_file():
            return {**found, "failed": f"exit code {done.returncode}", "rows": []}
        return {**found, "rows": json.loads(output.read_text())}


def main(settings: Suite) -> int:
    """Run, write the files, print the table; 1 if a benchmark failed, 2 for a wrong option."""
    unknown = [name for name in settings.only if name not in BENCHMARKS]
    if unknown:
        print(f"--only {' '.join(unknown)} is unknown; expected some of {', '.join(BENCHMARKS)}")
        return 2
    try:
        peer = find_peer(settings.peer_python, settings.threads)
    except PeerError as error:
        print(error)
        return 2
    chosen = [name for name in BENCHMARKS if name in settings.only or not settings.only]
    report: dict[str, Any] = {"quick": settings.quick, **environment(peer.versions)}
    report |= {"seed": 0, "peer_threads": peer.threads, "benchmarks": {}}
    print(f"load average {report['load_average_at_start']} at start", file=sys.stderr)
    for place, name in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {name}: {BENCHMARKS[name]}", file=sys.stderr, flush=True)
        found = measure_one(name, settings, peer)
        report["benchmarks"][name] = found
        state = found.get("failed", f"{len(found['rows'])} rows")
        print(f"    {state}, {found['seconds']} s", file=sys.stderr, flush=True)
        write(report, settings)
    print(markdown(report))
    return 1 if any("failed" in found for found in report["benchmarks"].values()) else 0


def write(report: dict[str, Any], settings: Suite) -> None:
    """Both files; called after every benchmark, so that an interrupted run keeps what it has."""
    name = settings.name or ("suite_quick" if settings.quick else "suite")
    settings.output.mkdir(parents=True, exist_ok=True)
    (settings.output / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    (settings.output / f"{name}.md").write_text(markdown(report))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Suite)))

"""Guide: from this machine to a pod, step by step, with no pod at hand.

    python experiments/guides/to_a_pod.py

1. Ask whether the run fits a slice of TPUs, by compiling it for them (needs libtpu:
   `pip install 'jaxreason[preflight]'`, Linux; without it this step is left out).
2. Start it with two processes, as a pod would, here on the loopback network.
3. Go on with one process: same examples, same rows, same bits of randomness.

The run is a toy; the commands are those of a real one. launch/README.md has what starts them on
Slurm, GKE, Cloud TPU and SkyPilot.
"""

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path

CONFIG = str(Path(__file__).parents[1] / "maze" / "tiny.py")
RUN = Path("runs/guide-pod")
# Any field of an experiment can be set on the command line. Batch sizes are those of all processes
# together, so the numbers of a run do not depend on how many there are. Rows are packed by two
# independent packers, which two processes, or one, can share.
TOY = (
    "--batch.batch-size 4 --batch.length 160 --batch.streams 2 --data.width 4 --data.height 4 "
    "--model.layers 1 --model.unroll 1 --model.width 32 --model.mlp-width 64 "
    "--train.log-every 1 --train.evaluate-every 0"
)


def jaxreason(command):
    """Runs `jaxreason ...` and shows it."""
    print(f"\n$ jaxreason {command}", flush=True)
    called = [sys.executable, "-m", "jaxreason.cli.main", *shlex.split(command)]
    subprocess.run(called, check=True)


def main():
    # 1. A mesh is fields of the experiment too: --mesh.fsdp 8 --mesh.tensor 2. By default all
    # devices share the parameters (fsdp). Exit code 0: it fits; 1: it does not.
    if importlib.util.find_spec("libtpu") is not None:
        jaxreason(f"preflight {CONFIG} --topology v5e-4 {TOY}")

    # 2. `launch` starts processes on this machine, restarts all when one dies (exit code 43) or is
    # told to stop (42), and passes SIGTERM on. On a pod the scheduler does that, and each host
    # simply runs the command after the `--`.
    train = f"train {CONFIG} --run {RUN} {TOY}"
    jaxreason(f"launch --processes 2 --devices-per-process 1 -- {train} --train.steps 3")

    # 3. The same command goes on where the run stopped. A gs:// URL in place of RUN keeps it where
    # every host can reach it.
    jaxreason(f"{train} --train.steps 6")
    rows = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    print("\nlosses:", *(f"{row['loss']:.3f}" for row in rows if "loss" in row))


if __name__ == "__main__":
    main()

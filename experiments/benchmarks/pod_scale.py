"""What a device holds and sends as the slice grows, at a fixed batch per chip; compiled, not run.

    python experiments/benchmarks/pod_scale.py                 # every case, an hour of two cores
    python experiments/benchmarks/pod_scale.py --only maze     # one model

Compiles the training step of the 0.36 B maze config and of the 8 B MMaDA config for TPU slices from
4 to 512 chips and for several slices, and writes `results/pod_scale.json` after each of them; what
is there already is not compiled again. Needs libtpu (extra `preflight`) and no TPU. With
everything sharded over `fsdp`, each chip gathers the parameters and reduces the gradients once a
step whatever the size of the slice, so that the bytes it sends should grow only as (n - 1) / n.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from jaxreason.sharding.topologies import GIB, prepare_libtpu, topology

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "pod_scale.json"


class Case(NamedTuple):
    """One compilation.

    Attributes:
        model: "maze" (0.36 B, rows of 8,192 tokens) or "mmada" (8.08 B, rows of 1,539).
        topology: of each slice.
        slices: how many.
    """

    model: str
    topology: str
    slices: int = 1

    @property
    def name(self) -> str:
        """Of the case, unique."""
        several = f"{self.slices}x" if self.slices > 1 else ""
        return f"{self.model} {several}{self.topology}"


CASES = (
    Case("mmada", "v5p-16"),
    Case("mmada", "v5p-32"),
    Case("mmada", "v5p-512"),
    Case("maze", "v5e-4"),
    Case("maze", "v5e-16"),
    Case("maze", "v5e-256"),
    Case("maze", "v5e-16", 2),
    Case("maze", "v5e-64"),
    Case("mmada", "v5p-128"),
    Case("mmada", "v5p-32", 2),
)


@dataclass(frozen=True)
class Settings:
    """What to compile.

    Attributes:
        only: part of the names of the cases; all if empty.
        again: compile what is in the results too.
    """

    only: str = ""
    again: bool = False


def experiment_for(case: Case) -> Any:
    """The config of a case, with one row of 8,192 or four of 1,539 tokens a chip."""
    from jaxreason.training.runs import load_experiment

    chips = topology(case.topology).chips * case.slices
    if case.model == "maze":
        experiment = load_experiment(ROOT / "maze" / "paper.py")
        changed = {"batch": replace(experiment.batch, batch_size=chips)}
    else:
        experiment = load_experiment(ROOT / "mmada" / "pod_8b_records.py")
        train = replace(experiment.train, accumulation=1)
        rows = {"t2i": chips, "lm_chat": 2 * chips, "mmu": chips}
        changed = {"rows": rows, "train": train}
    # 128 divides the maze model's width of 896; more chips hold a second copy.
    copies = max(chips // 128, case.slices) if case.model == "maze" else case.slices
    return replace(experiment, mesh=replace(experiment.mesh, replica=copies), **changed)


def main(settings: Settings) -> None:
    """Compile, write, print the table."""
    prepare_libtpu()
    from jaxreason.training.preflight.run import preflight

    console = Console()
    done: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for case in CASES:
        if settings.only not in case.name or (case.name in done and not settings.again):
            continue
        console.print(f"compiling {case.name}")
        done[case.name] = preflight(experiment_for(case), case.topology, case.slices).as_json()
        RESULTS.write_text(json.dumps(done, indent=1) + "\n")
    console.print(table(done))


def table(done: dict[str, Any]) -> Table:
    """One row a case, in the order of the cases."""
    columns = ("", "chips", "mesh", "fits", "GiB a device", "GB sent: ICI", "DCN", "MFU")
    found = Table(*columns, title="compiled, not run; MFU is a roofline estimate")
    order = {case.name: place for place, case in enumerate(sorted(CASES, key=_size))}
    for name, result in sorted(done.items(), key=lambda item: order.get(item[0], len(order))):
        program = result["programs"][0]
        sent = {"ICI": 0.0, "DCN": 0.0}
        for entry in program["traffic"]:
            sent[entry["network"]] += entry["bytes"] / 1e9
        mesh = " x ".join(f"{axis}={n}" for axis, n in result["mesh"].items() if n > 1)
        estimate = program["estimate"]
        found.add_row(
            name,
            str(result["topology"]["chips"]),
            mesh,
            "yes" if program["fits"] else "no",
            "" if program["needed"] is None else f"{program['needed'] / GIB:.1f}",
            f"{sent['ICI']:.2f}",
            f"{sent['DCN']:.3f}" if sent["DCN"] else "-",
            "" if estimate is None else f"{100 * estimate['mfu']:.0f} %",
        )
    return found


def _size(case: Case) -> tuple[str, int, int]:
    return case.model, case.slices, topology(case.topology).chips


if __name__ == "__main__":
    main(tyro.cli(Settings))

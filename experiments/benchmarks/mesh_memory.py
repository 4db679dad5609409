"""Memory of one device under every mesh: what each objective and sampler needs of eight.

    python experiments/benchmarks/mesh_memory.py [--cases NAME ...] [--output FOLDER]

Nothing is executed: each program is compiled from shapes for eight CPU devices that one processor
pretends to have, and its `memory_analysis()` is read. Parameters and optimizer are what a device
holds of the state between steps, temporaries what the program needs besides (activations, key-value
caches, gathered weights). The compiler for TPUs or GPUs fuses more; the ratios between meshes are
what to look at. Writes mesh_memory.json and mesh_memory.md.
Hardware: any. Wall time on two quiet cores: about ten minutes.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)

import tyro
from device_memory import measure
from environment import environment
from mesh_cases import Size, sampling_cases, training_cases
from rich.console import Console

from jaxreason.models import TransformerConfig
from jaxreason.models.magvit import MagvitConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh

MESHES: Mapping[str, MeshConfig | None] = {
    "one device": None,
    "replica 8": MeshConfig(replica=8, fsdp=1),
    "fsdp 8": MeshConfig(fsdp=8),
    "tensor 8": MeshConfig(fsdp=1, tensor=8),
    "sequence 8": MeshConfig(fsdp=1, sequence=8),
    "fsdp 4, tensor 2": MeshConfig(fsdp=4, tensor=2),
    "fsdp 2, tensor 2, sequence 2": MeshConfig(fsdp=2, tensor=2, sequence=2),
}
SIZE = Size(
    model=TransformerConfig(2048, 4, 256, 8, 8, 32, 1024, remat="full"),
    picture=MagvitConfig(16, (1, 2, 4), (1, 1, 1), (1, 2, 4), (1, 1, 1), 8, 4),
    rows=32,
    length=512,
    side=64,
    new=128,
    chunk=2048,
)
"""Large enough that batches and weights outweigh what every device must have."""
HEAD = ("parameters", "optimizer", "temporaries", "all")


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes:
        cases: names of the table's first column; all by default.
        meshes: names of its second column; all by default.
        output: folder of the results.
    """

    cases: tuple[str, ...] = ()
    meshes: tuple[str, ...] = ()
    output: Path = field(default_factory=lambda: Path(__file__).parent / "results")


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, in MiB, and all over what one device alone needs."""
    lines = [
        f"| program | mesh | {' | '.join(HEAD)} | of one device |",
        "|---|---|" + "---:|" * (len(HEAD) + 1),
    ]
    alone = {row["program"]: row["all"] for row in rows if row["mesh"] == "one device"}
    for row in rows:
        cells = [f"{row[name] / 2**20:.1f}" for name in HEAD]
        whole = alone.get(row["program"])
        share = f"{row['all'] / whole:.3f}" if whole else ""
        lines.append(f"| {row['program']} | {row['mesh']} | {' | '.join(cells)} | {share} |")
    return "\n".join(lines) + "\n"


def main(settings: Settings) -> None:
    """Measure and write."""
    console = Console()
    cases: dict[str, Any] = {**training_cases(SIZE), **sampling_cases(SIZE)}
    rows: list[dict[str, Any]] = []
    for name in settings.cases or cases:
        case = cases[name]()
        for title in settings.meshes or MESHES:
            config = MESHES[title]
            mesh = None if config is None else make_mesh(config)
            rows.append({"program": name, "mesh": title, **measure(case, mesh)})
            console.print(f"{name}, {title}: {rows[-1]['all'] / 2**20:.1f} MiB")
            document = {"environment": environment({}), "rows": rows}
            settings.output.mkdir(parents=True, exist_ok=True)
            text = json.dumps(document, indent=2) + "\n"
            (settings.output / "mesh_memory.json").write_text(text)
            (settings.output / "mesh_memory.md").write_text(markdown(rows))


if __name__ == "__main__":
    main(tyro.cli(Settings))

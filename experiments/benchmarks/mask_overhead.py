"""What update masks cost: training steps against plain AdamW, and bytes of optimizer state.

    python experiments/benchmarks/one.py mask_overhead [--quick]

The suite's part of `masks.py`, which has more sizes and the processor's time.
"""

from typing import Any

from masks import PLAIN, Benchmark, parameters, state_bytes, training_steps
from suite import Peer, Row, against, contestant, take_turns

from jaxreason.training.allocator import keep_freed_memory


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite: training steps under masks against plain AdamW, and bytes of state."""
    del peer  # plain AdamW is its own
    keep_freed_memory()
    settings = Benchmark()
    if quick:
        names = ("freeze_outside, packed", "mask_gradients, packed", "compact", "track_updates")
        settings = Benchmark(batch=8, rounds=5, steps=1, contestants=names)
    contestants = {name: contestant(run) for name, run in training_steps(settings).items()}
    seconds = take_turns(contestants, settings.rounds, settings.steps)
    case = f"{settings.model}, {settings.batch} x {settings.length}, density {settings.density:.0%}"
    rows = []
    for name in seconds:
        if name != PLAIN:
            fixed: dict[str, Any] = {
                "benchmark": "mask_overhead",
                "case": f"training step, {name}, {case}",
            }
            tokens = settings.batch * settings.length
            rows += against(seconds, name, [PLAIN], tokens, unit="tokens/s", **fixed)
    for row in state_bytes(settings, parameters(1_000_000)):
        if "bytes_over_bound" in row:
            label = f"optimizer state, compact, {row['parameters']:,} parameters"
            label += f", density {row['density']:.0%}"
            bound = 12 * row["density"]
            note = f"12 x density is {bound:.2f}; AdamW has 8"
            rows.append(
                Row("mask_overhead", label, row["bytes_per_parameter"], "B/parameter", note=note)
            )
    return rows

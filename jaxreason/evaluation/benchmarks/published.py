"""Numbers of papers beside which results stand: only those read off the named tables.

Their prompts and settings are the authors'; a number of ours under other settings is no
reproduction, and no contradiction, of theirs.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

SOURCES: Mapping[str, str] = {
    "mmada-2": "Yang et al. 2025, MMaDA, arXiv 2505.15809, table 2",
    "mmada-4": "Yang et al. 2025, MMaDA, arXiv 2505.15809, table 4",
    "mmada-5": "Yang et al. 2025, MMaDA, arXiv 2505.15809, table 5",
    "subnetworks-3": "Mukherjee et al. 2025, RL finetunes small subnetworks, arXiv 2505.11711, "
    "table 3",
    "llada": "LLaDA's repository, EVAL.md, internal toolkit",
}


class Published(NamedTuple):
    """One number, as its source prints it: per cent, but MME's points.

    Attributes:
        model: as the source calls it.
        benchmark: key of `settings.BENCHMARKS`, or one of the benchmarks with pictures.
        value: the number.
        source: key of `SOURCES`.
    """

    model: str
    benchmark: str
    value: float
    source: str


_TABLE_4: Mapping[str, tuple[float, ...]] = {
    "MMaDA-8B": (68.4, 57.4, 43.1, 73.4),
    "LLaDA-8B": (65.9, 47.9, 46.4, 70.7),
    "Qwen2-7B": (70.3, 60.6, 54.2, 80.2),
    "LLaMA-3-8B": (64.5, 53.1, 44.0, 53.1),
    "LLaMA-2-7B": (45.9, 46.3, 39.0, 14.3),
}
_TABLE_2: Mapping[str, Mapping[str, float]] = {
    "MMaDA-8B": {"pope": 86.1, "mme": 1410.7, "vqav2": 76.7, "gqa": 61.3},
    "Show-o": {"pope": 80.0, "mme": 1097.2, "vqav2": 69.4, "gqa": 58.0},
    "LLaVA-v1.5": {"pope": 85.9, "mme": 1510.7, "vqav2": 78.5, "gqa": 62.0},
    "SEED-X": {"pope": 84.2, "mme": 1435.7, "gqa": 47.9},
}
_TABLE_5: Mapping[str, tuple[float, float]] = {
    "MMaDA-8B, stage 1": (17.4, 4.2),
    "MMaDA-8B, + Mixed Long-CoT": (65.2, 26.5),
    "MMaDA-8B, + UniGRPO": (73.4, 36.0),
}

PUBLISHED: tuple[Published, ...] = (
    *(
        Published(model, benchmark, value, "mmada-4")
        for model, values in _TABLE_4.items()
        for benchmark, value in zip(
            ("mmlu", "arc_challenge", "truthfulqa_mc1", "gsm8k"), values, strict=True
        )
    ),
    *(
        Published(model, benchmark, value, "mmada-5")
        for model, values in _TABLE_5.items()
        for benchmark, value in zip(("gsm8k", "math500"), values, strict=True)
    ),
    *(
        Published(model, benchmark, value, "mmada-2")
        for model, values in _TABLE_2.items()
        for benchmark, value in values.items()
    ),
    Published("LLaDA-8B-Instruct, blocks of 8", "gsm8k", 78.6, "llada"),
    Published("LLaDA-8B-Instruct, one block of 512", "gsm8k", 69.4, "llada"),
    Published("PRIME, all parameters", "math500", 69.8, "subnetworks-3"),
    Published("PRIME, subnetwork alone", "math500", 72.2, "subnetworks-3"),
)


def published(benchmarks: Iterable[str]) -> tuple[Published, ...]:
    """The numbers of these benchmarks, in the order of the table."""
    wanted = set(benchmarks)
    return tuple(number for number in PUBLISHED if number.benchmark in wanted)

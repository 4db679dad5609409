"""Numbers of the MMaDA paper on these benchmarks, and what is known of how they came about.

Yang et al. 2025 (arXiv 2505.15809), tables 2 and 3, of MMaDA-8B-Max. Its weights were not
released, and the settings of these evaluations were not published.
"""

from typing import NamedTuple

PAPER = "MMaDA-8B-Max (arXiv 2505.15809), whose weights and settings are not published"


class Published(NamedTuple):
    """One number.

    Attributes:
        benchmark: as `jaxreason score` calls it.
        measure: in the paper's words.
        value: as printed there.
        table: where.
        caution: what the paper leaves open; "" if nothing.
    """

    benchmark: str
    measure: str
    value: float
    table: int
    caution: str = ""


PUBLISHED = (
    Published("pope", "POPE", 86.1, 2, "accuracy or F1, and over which categories, is not said"),
    Published("mme", "MME", 1410.7, 2, "of a size that only the perception total can have"),
    Published("vqav2", "VQAv2", 76.7, 2, "the split is not said"),
    Published("gqa", "GQA", 61.3, 2, "the split is not said"),
    Published("geneval", "overall", 0.63, 3),
    Published("clip", "CLIP score", 32.46, 3, "on 50,000 prompts of the authors' own"),
    Published("image_reward", "ImageReward", 1.15, 3, "on 50,000 prompts of the authors' own"),
)


def published_notes(benchmark: str) -> tuple[str, ...]:
    """A line for each number of a benchmark."""
    return tuple(
        f"paper: {p.measure} {p.value:g} of {PAPER}, table {p.table}"
        + (f"; {p.caution}" if p.caution else "")
        for p in PUBLISHED
        if p.benchmark == benchmark
    )

"""What is measured of a run: how many weights its update left alone, its norm, what it solves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from outputs import spread
from study import Study

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.comparison import CompareSettings, compare
from jaxreason.analysis.equality import BFLOAT16, to_bfloat16
from jaxreason.analysis.tensors import Checkpoint, StoredTensor
from jaxreason.training.metrics import read_metrics

MODES = {
    "exact": "fp32 exact",
    "absolute": "fp32, 1e-5",
    "bf16_exact": "bf16 exact",
    "bf16_relative": "bf16 relative",
    "paper": "paper (bf16, 1e-5)",
}
"""Rules by which a weight counts as unchanged, in the order of tables."""

SHORT = {"greedy": "valid, greedy", "sampled": "valid, sampled"}


def base_and(study: Study, run: str) -> tuple[Checkpoint, Checkpoint]:
    """The base as the run started from it, and the run.

    A run that stores its parameters in bfloat16 started from the base rounded to it.
    """
    base, after = open_checkpoint(study.path("base")), open_checkpoint(study.path(run))
    narrow = all(tensor.dtype == BFLOAT16 for tensor in after.tensors.values())
    return (rounded(base) if narrow else base), after


def rounded(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with every tensor rounded to bfloat16."""

    def narrow(tensor: StoredTensor) -> StoredTensor:
        return replace(tensor, dtype=BFLOAT16, read=lambda: to_bfloat16(tensor.read()))

    tensors = {name: narrow(tensor) for name, tensor in checkpoint.tensors.items()}
    return replace(checkpoint, tensors=tensors)


def evaluations(study: Study, run: str) -> list[dict[str, Any]]:
    """The rows of evaluation of a run, in order."""
    rows = read_metrics(study.root / run / "metrics.jsonl")
    return [row for row in rows if "evaluation" in row]


def _validity(row: Mapping[str, Any]) -> dict[str, float]:
    found = row["evaluation"]
    return {"greedy": found["held_out_reward"], "sampled": found["held_out_sampled_reward"]}


def validity(study: Study, run: str) -> dict[str, float]:
    """Share of held-out mazes whose plan is valid at the end of a run, greedily and sampled."""
    return _validity(evaluations(study, run)[-1])


def base_validity(study: Study) -> dict[str, float]:
    """The same of the base: what an online run measured before its first step."""
    return _validity(evaluations(study, f"grpo-{study.seeds[0]}")[0])


def trained(study: Study, run: str, metric: str) -> float | None:
    """Mean of a training metric over the last third of a run; None if it has none."""
    rows = [row for row in read_metrics(study.root / run / "metrics.jsonl") if metric in row]
    last = [row[metric] for row in rows if row["step"] > rows[-1]["step"] * 2 / 3]
    return float(np.mean(last)) if last else None


def changes(study: Study, run: str) -> dict[str, Any]:
    """Sparsity of a run's update by every rule, and its norm."""
    total = compare(*base_and(study, run), CompareSettings(rank=False)).total()
    delta = total.delta_square**0.5
    return {
        "sparsity": {mode: total.sparsity(mode) for mode in MODES},
        "norm": delta,
        "relative_norm": delta / total.before_square**0.5,
        "size": total.size,
    }


def describe(study: Study, runs: Sequence[str]) -> dict[str, Any]:
    """Means over runs that differ in their seed only.

    Returns:
        {runs, sparsity: {mode: spread}, validity: {greedy, sampled: spread}, norm, relative_norm,
        single: {run: what `changes` and `validity` found}}
    """
    single = {run: {**changes(study, run), "validity": validity(study, run)} for run in runs}
    found = list(single.values())
    return {
        "runs": list(runs),
        "sparsity": {m: spread([one["sparsity"][m] for one in found]) for m in MODES},
        "validity": {h: spread([one["validity"][h] for one in found]) for h in SHORT},
        "norm": spread([one["norm"] for one in found]),
        "relative_norm": spread([one["relative_norm"] for one in found]),
        "single": single,
    }

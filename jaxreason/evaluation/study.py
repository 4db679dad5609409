"""What post-training did, run by run and between runs: comparisons, overlap, one page."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.comparison import CompareSettings, Comparison, compare
from jaxreason.analysis.documents import document
from jaxreason.analysis.overlap import overlap_matrix, overlap_report
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.training.metrics import read_metrics
from jaxreason.training.runs import read_config

Advance = Callable[[str, int], None] | None


@dataclass(frozen=True)
class Studied:
    """One run and what it changed.

    Attributes:
        path: of the run, perhaps with a step.
        method: what it was trained by, in a few words; "" where its config does not say.
        outcome: name of the held-out number, and its first and last value; None without any.
        comparison: with the base.
    """

    path: str
    method: str
    outcome: tuple[str, float, float] | None
    comparison: Comparison


@dataclass(frozen=True)
class Study:
    """Runs from one base.

    Attributes:
        base: its path.
        runs: what each changed.
        overlap: of every two, as `analysis.overlap` has it; None of a single run.
    """

    base: str
    runs: tuple[Studied, ...]
    overlap: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """`{schema, base, runs: [{path, method, outcome, compare}], overlap}`; `compare` is what
        `jaxreason compare --json` prints, `overlap` what `jaxreason overlap --json` does.
        """
        runs = [
            {
                "path": run.path,
                "method": run.method,
                "outcome": None if run.outcome is None else list(run.outcome),
                "compare": document(run.comparison),
            }
            for run in self.runs
        ]
        return {"schema": "26.1", "base": self.base, "runs": runs, "overlap": self.overlap}


def study(
    runs: Sequence[str],
    base: str | None = None,
    *,
    tolerance: float = 1e-5,
    rank: bool = True,
    draws: int = 4,
    advance: Callable[[int], Any] | None = None,
) -> Study:
    """Compares each run with the base, and which weights every two of them changed.

    Overlap is counted as Mukherjee et al. 2025 count: read in bfloat16, within the tolerance. LoRA
    is merged into the weights that are compared.

    Args:
        runs: run directories (`RUN`, or `RUN@STEP`).
        base: what they started from; None takes it from their configs.
        tolerance: largest difference that counts as none.
        rank: whether singular values are computed, which takes most of the time.
        draws: of the precision null by adding and rounding.
        advance: given a number of weights, a context manager of a function that is told of each
            tensor that is done.

    Raises:
        InputError: no runs, runs of several bases, no base in a config, another model.
        FailureError: a damaged run.
    """
    if not runs:
        raise InputError("runs is empty; expected at least one run directory")
    twice = sorted({run for run in runs if list(runs).count(run) > 1})
    if twice:
        raise InputError(f"runs has {twice[0]} twice")
    base = base or common_base(runs)
    before = open_checkpoint(base)
    opened = [open_checkpoint(run) for run in runs]
    settings = CompareSettings("absolute", tolerance, rank)
    found = []
    for run, after in zip(runs, opened, strict=True):
        with _told(advance, before.parameters) as tell:
            comparison = compare(before, after, settings, tell)
        found.append(Studied(run, method_of(run), outcome_of(run), comparison))
    overlap = None
    if len(runs) > 1:
        rule: Any = {"tolerance": tolerance, "read_dtype": "bfloat16", "draws": draws}
        with _told(advance, before.parameters) as tell:
            if len(runs) == 2:
                first, second = opened
                overlap = overlap_report(before, first, second, **rule, advance=tell)
            else:
                overlap = overlap_matrix(before, opened, **rule, advance=tell)
    return Study(base, tuple(found), overlap)


def common_base(runs: Sequence[str]) -> str:
    """What all runs started from, as their configs say: a path, perhaps with a step.

    Raises:
        InputError: a run does not say, runs say different things, or it is not there any more.
    """
    bases = {run: _base(run) for run in runs}
    if len(set(bases.values())) > 1:
        first, *_, last = bases
        raise InputError(
            f"{first} started from {bases[first]}, {last} from {bases[last]}; give runs from one "
            "base, or the checkpoint to compare all with: --base BASE"
        )
    base = bases[runs[0]]
    if not as_path(base.rpartition("@")[0] or base).exists() and not as_path(base).exists():
        raise InputError(
            f"{runs[0]} started from {base}, which is not there; say where it is: --base BASE"
        )
    return base


def _base(run: str) -> str:
    config = _config(run)
    if not config.get("base"):
        raise InputError(
            f"{run} does not say what it started from; give the checkpoint: --base BASE"
        )
    step = config.get("base_step")
    return config["base"] if step is None else f"{config['base']}@{step}"


def _config(run: str) -> Mapping[str, Any]:
    """config.json of a run; empty for other checkpoints."""
    folder = run if as_path(run).exists() else run.rpartition("@")[0]
    try:
        return read_config(folder)
    except (FailureError, InputError):
        return {}


def method_of(run: str) -> str:
    """Method, learning rate, steps, precision and mask of a run, in a few words."""
    config = _config(run)
    if "train" not in config or "optimizer" not in config:
        return ""
    kind = str(config.get("kind", "")).rpartition("_")[2]
    words = [str(config.get("method") or kind)]
    words.append(f"rate {config['optimizer'].get('learning_rate', 0):g}")
    words.append(f"{config['train'].get('steps', 0)} steps")
    if config.get("params_dtype"):
        words.append(f"stored in {config['params_dtype']}")
    if config.get("lora"):
        words.append(f"LoRA of rank {config['lora'].get('rank')}")
    if config.get("mask"):
        words.append("masked")
    return ", ".join(words)


def outcome_of(run: str) -> tuple[str, float, float] | None:
    """The held-out reward, else the held-out loss: its name, first and last value."""
    folder = as_path(run if as_path(run).exists() else run.rpartition("@")[0])
    if not (folder / "metrics.jsonl").is_file():
        return None
    rows = [row.get("evaluation") or {} for row in read_metrics(folder / "metrics.jsonl")]
    for name in ("held_out_reward", "held_out_loss"):
        values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
        if values:
            return name.replace("_", "-", 1).replace("_", " "), values[0], values[-1]
    return None


class _told:
    """`advance(weights)` as a context, or nothing."""

    def __init__(self, advance: Callable[[int], Any] | None, weights: int) -> None:
        self._inner = None if advance is None else advance(weights)

    def __enter__(self) -> Advance:
        return None if self._inner is None else self._inner.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._inner is not None:
            self._inner.__exit__(*error)


def write_study(found: Study, folder: str | Path) -> Path:
    """Writes study.html, study.json, and of each run and the overlap a page of its own.

    Args:
        found: of `study`.
        folder: made if need be; other files in it are left alone.

    Returns:
        The path of study.html.

    Raises:
        FailureError: the disk refuses.
    """
    from jaxreason.evaluation.comparison_report import write_comparison
    from jaxreason.evaluation.overlap_page import write_overlap
    from jaxreason.evaluation.report_folder import put_in_place
    from jaxreason.evaluation.study_page import build, names

    place = as_path(folder)
    for name, run in zip(names(found), found.runs, strict=True):
        write_comparison(run.comparison, place / name)
    if found.overlap is not None:
        write_overlap(found.overlap, place / "overlap")
    text = json.dumps(found.as_json(), indent=1, allow_nan=False) + "\n"
    html, images = build(found)
    return put_in_place(place, "study.html", html, {"study.json": text}, images)

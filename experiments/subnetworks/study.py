"""The runs behind the tables of this folder: what they are, and training those that are missing.

    python experiments/subnetworks/study.py            # trains all of them, two at a time
    python experiments/subnetworks/study.py grpo-0     # only some

The scripts `sparsity.py`, `overlap.py`, `rank.py`, `masked.py` and `ablations.py` train what they
need by themselves. Runs are kept in runs/subnetworks (or $JAXREASON_STUDY) and go on where they
stopped.
"""

import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jaxreason.training.completions import SamplingConfig
from jaxreason.training.preference_experiment import PreferenceExperiment
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment

ROOT = Path(os.environ.get("JAXREASON_STUDY", "runs/subnetworks"))
RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
ONLINE = ("grpo", "rloo", "ppo", "prime")
PREFERENCE = ("dpo", "kto", "simpo", "orpo")
SUPERVISED = ("rft", "sft")
METHODS = (*ONLINE, *PREFERENCE, *SUPERVISED)


def _experiment(file: str) -> Any:
    """The `experiment` of a file in this folder."""
    path = Path(__file__).parent / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.experiment


BASE = _experiment("maze_base.py")
GRPO: ReinforcementExperiment = _experiment("maze_grpo.py")


def online(method: str, seed: int, **changes: Any) -> ReinforcementExperiment:
    """A run of an online algorithm; the same settings for all of them."""
    return _changed(replace(GRPO, base=str(ROOT / "base"), method=method), seed, changes)


def offline(method: str, seed: int, **changes: Any) -> PreferenceExperiment:
    """A run of a preference or supervised method with the optimizer and updates of the online ones.

    Each seed draws its own completions of the base.
    """
    experiment = PreferenceExperiment(
        base=str(ROOT / "base"),
        method=method,
        sampling=SamplingConfig(problems=800, samples=8, max_new_tokens=40, seed=seed),
        optimizer=GRPO.optimizer,
        train=GRPO.train,
        held_out=GRPO.held_out,
        batch_size=32 if method in PREFERENCE else 64,
    )
    return _changed(experiment, seed, changes)


def _changed(experiment: Any, seed: int, changes: Mapping[str, Any]) -> Any:
    """Fields changed; those of optimizer, train and rollout by their own names."""
    experiment = replace(experiment, train=replace(experiment.train, seed=seed))
    for name, value in changes.items():
        for part in ("optimizer", "train", "rollout"):
            inner = getattr(experiment, part, None)
            if inner is not None and hasattr(inner, name):
                experiment = replace(experiment, **{part: replace(inner, **{name: value})})
                break
        else:
            experiment = replace(experiment, **{name: value})
    return experiment


def any_method(method: str, seed: int, **changes: Any) -> Any:
    """A run of any method."""
    make = online if method in ONLINE else offline
    return make(method, seed, **changes)


def main_runs() -> dict[str, Any]:
    """Every method with every seed, by name."""
    return {f"{m}-{seed}": any_method(m, seed) for m in METHODS for seed in SEEDS}


def ensure(runs: Mapping[str, Any], workers: int = 2) -> dict[str, Path]:
    """Train the runs that are not finished, `workers` at a time, the base first; their folders."""
    folders = {name: ROOT / name for name in runs}
    if not (ROOT / "base" / "summary.json").is_file():
        _pool({"base": BASE}, 1)
    missing = {
        name: experiment
        for name, experiment in runs.items()
        if not (folders[name] / "summary.json").is_file()
    }
    _pool(missing, workers)
    return folders


def _pool(runs: Mapping[str, Any], workers: int) -> None:
    if not runs:
        return
    # A small model gains nothing from a second core of its own.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_train, e, str(ROOT / name)): name for name, e in runs.items()}
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done}/{len(runs)} {futures[future]}: {future.result()}", flush=True)


def _train(experiment: Any, directory: str) -> str:
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    result = experiment.run(directory, progress=False)
    return f"{result.seconds['wall']:.0f} s"


def parameters(runs: Iterable[str]) -> list[str]:
    """Run folders as text, as the analysis takes them."""
    return [str(ROOT / name) for name in runs]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    known = main_runs()
    ensure({name: known[name] for name in wanted} if wanted else known)

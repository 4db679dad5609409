"""The runs behind the tables of this folder: what they are, and training those that are missing.

    python experiments/subnetworks/study.py            # trains the main runs, two at a time
    python experiments/subnetworks/study.py grpo-0     # only some

The scripts `sparsity.py`, `overlap.py`, `rank.py`, `masked.py` and `ablations.py` train what they
need by themselves and share their runs by name. Runs are kept in runs/subnetworks (or
$JAXREASON_STUDY) and go on where they stopped. `--quick` takes a toy model and a few steps instead,
to see that everything works; its runs and results lie in a folder `quick` of their own.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import TransformerConfig
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.preference_experiment import PreferenceExperiment
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.training.runs import load_experiment

ONLINE = ("grpo", "rloo", "ppo", "prime")
PREFERENCE = ("dpo", "kto", "simpo", "orpo")
SUPERVISED = ("rft", "sft")
METHODS = (*ONLINE, *PREFERENCE, *SUPERVISED)
DRAWS = "dpo"
"""The method whose runs draw the base's completions; the other offline methods take them over."""

BETAS = {"dpo": 1.0, "kto": 1.0}
"""Where the usual 0.1 lets a hundred updates at this rate take the policy so far from the base that
it solves fewer mazes (greedily 14 instead of 26 % after 75 updates of DPO, seed 0)."""

PRIME_ROLLOUT: dict[str, Any] = {
    "keep": "informative",
    "mean_between": (0.2, 0.8),
    "oversample": 4,
}
PRIME_OVERRIDES = {"process_weight": "1", "overlong": "mask"}
"""PRIME with its authors' filter of prompts, and the process reward at a fifth of its weight.

Without the filter and at full weight the process reward made the completions ever longer, until no
plan was valid, in each of three seeds.
"""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Study:
    """One base model, the settings all runs share, and where things are kept.

    Attributes:
        root: folder of the runs.
        results: folder of the tables and figures.
        base: what every run starts from.
        template: an online run; its optimizer, number of steps and held-out problems are
            everybody's.
        sampling: what the offline methods draw from the base, each seed anew.
        methods: those of the main table.
        seeds: of the main table.
        workers: runs trained side by side; 0 trains them in this process.
    """

    root: Path
    results: Path
    base: MazeExperiment
    template: ReinforcementExperiment
    sampling: SamplingConfig
    methods: tuple[str, ...] = METHODS
    seeds: tuple[int, ...] = (0, 1, 2)
    workers: int = 2

    @property
    def steps(self) -> int:
        """Optimizer steps of a run."""
        return self.template.train.steps

    @property
    def rate(self) -> float:
        """Learning rate of the main runs."""
        return self.template.optimizer.learning_rate

    def path(self, name: str) -> str:
        """A run's folder, as the analysis takes it."""
        return str(self.root / name)

    def run(self, method: str, seed: int = 0, **changes: Any) -> Any:
        """An experiment of any method; fields of optimizer, train and rollout by their own names.

        An offline method makes as many updates as the online ones, with the same optimizer and
        number of sequences. All offline runs of a seed learn from the same completions of the base.
        """
        rows = self.template.rollout.rows
        if method in ONLINE:
            experiment: Any = replace(self.template, base=self.path("base"), method=method)
            if method == "prime":
                rollout = replace(self.template.rollout, **PRIME_ROLLOUT)
                experiment = replace(experiment, rollout=rollout, overrides=PRIME_OVERRIDES)
        else:
            experiment = PreferenceExperiment(
                base=self.path("base"),
                method=method,
                beta=BETAS.get(method),
                sampling=replace(self.sampling, seed=seed),
                optimizer=self.template.optimizer,
                train=self.template.train,
                held_out=self.template.held_out,
                batch_size=rows // 2 if method in PREFERENCE else rows,
                samples_from=None if method in (DRAWS, "sft") else self.path(f"{DRAWS}-{seed}"),
            )
        return _changed(experiment, {"seed": seed, "evaluate_every": self.steps, **changes})

    def main_runs(self, methods: Sequence[str] | None = None) -> dict[str, Any]:
        """Every method with every seed, by name."""
        every = max(self.steps // 3, 1)
        return {
            f"{method}-{seed}": self.run(method, seed, evaluate_every=every)
            for method in methods or self.methods
            for seed in self.seeds
        }

    def at_rate(self, method: str, rate: float, seed: int = 0) -> dict[str, Any]:
        """A run at another learning rate, under its name."""
        name = f"{method}-lr{rate:.0e}-{seed}"
        return {name: self.run(method, seed, learning_rate=rate)}

    def in_bfloat16(self, method: str) -> dict[str, Any]:
        """Runs of all seeds but one with parameters stored in bfloat16, by name."""
        return {
            f"{method}-bf16-{seed}": self.run(method, seed, params_dtype="bfloat16")
            for seed in self.seeds[:-1]
        }

    def ensure(self, runs: Mapping[str, Any]) -> None:
        """Train the runs that are not finished: the base first, then those that draw completions.

        What runs of another method learn from is trained even if it was not asked for.
        """
        sources = {Path(e.samples_from).name for e in runs.values() if _borrows(e)}
        drawing = {name: e for name, e in self.main_runs([DRAWS]).items() if name in sources}
        others = {name: e for name, e in runs.items() if name not in drawing}
        for wave in ({"base": self.base}, drawing, others):
            missing = {name: e for name, e in wave.items() if not self.finished(name)}
            _train_all({name: (e, self.path(name)) for name, e in missing.items()}, self.workers)

    def finished(self, name: str) -> bool:
        """Whether a run has reached its last step."""
        return (self.root / name / "summary.json").is_file()


def _borrows(experiment: Any) -> bool:
    return getattr(experiment, "samples_from", None) is not None


def _changed(experiment: Any, changes: Mapping[str, Any]) -> Any:
    for name, value in changes.items():
        for part in ("optimizer", "train", "rollout"):
            inner = getattr(experiment, part, None)
            if inner is not None and hasattr(inner, name):
                experiment = replace(experiment, **{part: replace(inner, **{name: value})})
                break
        else:
            experiment = replace(experiment, **{name: value})
    return experiment


def _train_all(jobs: Mapping[str, tuple[Any, str]], workers: int) -> None:
    if not jobs:
        return
    if not workers:
        for name, job in jobs.items():
            print(f"{name}: {_train(*job)}", flush=True)
        return
    # A small model gains nothing from a second core of its own.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    with ProcessPoolExecutor(workers, get_context("spawn"), _prepare_worker) as pool:
        futures = {pool.submit(_train, *job): name for name, job in jobs.items()}
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done}/{len(jobs)} {futures[future]}: {future.result()}", flush=True)


def _train(experiment: Any, directory: str) -> str:
    result = experiment.run(directory, progress=False)
    return f"{result.seconds['wall']:.0f} s"


def _prepare_worker() -> None:
    from jaxreason.training.allocator import keep_freed_memory
    from jaxreason.training.cache import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()


def standard() -> Study:
    """The study of README.md."""
    template = load_experiment(_HERE / "maze_grpo.py")
    return Study(
        root=Path(os.environ.get("JAXREASON_STUDY", "runs/subnetworks")),
        results=_HERE / "results",
        base=load_experiment(_HERE / "maze_base.py"),
        template=template,
        sampling=SamplingConfig(4_000, 8, max_new_tokens=template.rollout.max_new_tokens),
    )


def quick(root: str | Path | None = None) -> Study:
    """A toy study: 4x4 cells without walls, 20 thousand weights, a few steps, two seeds.

    Its numbers mean nothing.
    """
    root = Path(os.environ.get("JAXREASON_STUDY", "runs/subnetworks") if root is None else root)
    steps, tokens = 6, 24
    return Study(
        root=root / "quick",
        results=root / "quick" / "results",
        base=MazeExperiment(
            data=MazeData("free_space", 4, 4, count=200, regime="solution_only"),
            batch=BatchConfig(batch_size=16, length=48),
            model=TransformerConfig(0, 2, 32, 2, 2, 16, 64),
            optimizer=OptimizerConfig(1e-2, 5, 200, b2=0.99, method="muon"),
            train=TrainConfig(steps=200, log_every=50),
        ),
        template=ReinforcementExperiment(
            problems=64,
            rollout=RolloutConfig(prompts=8, group=4, max_new_tokens=tokens),
            optimizer=OptimizerConfig(
                2e-4, 2, steps, schedule="constant", b2=0.99, weight_decay=0.0
            ),
            train=TrainConfig(steps=steps, log_every=2),
            held_out=32,
        ),
        sampling=SamplingConfig(problems=64, samples=4, max_new_tokens=tokens),
        methods=("grpo", "dpo", "sft"),
        seeds=(0, 1),
    )


def from_command_line(description: str | None) -> Study:
    """The study asked for: `--quick`, `--workers N`."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a toy model and a few steps")
    parser.add_argument("--workers", type=int, default=2, help="runs trained side by side")
    given = parser.parse_args()
    return replace(quick() if given.quick else standard(), workers=given.workers)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Trains the main runs of the study.")
    parser.add_argument("runs", nargs="*", help="names such as grpo-0; all by default")
    wanted = parser.parse_args().runs
    study = standard()
    known = study.main_runs()
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        parser.error(f"unknown run {unknown[0]}; expected some of {', '.join(known)}")
    study.ensure({name: known[name] for name in wanted} if wanted else known)


if __name__ == "__main__":
    _main()

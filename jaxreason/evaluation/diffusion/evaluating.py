"""A masked-diffusion run evaluated task by task: judged answers, and bounds on right ones."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from jaxreason.errors import InputError
from jaxreason.evaluation.diffusion.likelihood import finite, run_likelihood
from jaxreason.evaluation.diffusion.measuring import as_measures, judge_of
from jaxreason.evaluation.documents import dump
from jaxreason.evaluation.environment import environment
from jaxreason.mazes import SPLITS
from jaxreason.paths import as_path
from jaxreason.training.diffusion.bounds import BoundConfig
from jaxreason.training.files import write_atomically
from jaxreason.training.runs import Run, load_run

SCHEMA = "diffusion-26.1"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DiffusionEvaluation:
    """What to measure.

    Attributes:
        tasks: of those the run was trained on; none named is all of them.
        count: mazes (or held-out records) per task.
        split: of the mazes: "train", "validation" or "test".
        seed: of the sampling and of the masks.
        batch_size: answers decoded or scored together.
        bounds: how right answers are scored; its `batch` and `seed` are not used.

    Raises:
        InputError: a field outside its range.
    """

    tasks: tuple[str, ...] = ()
    count: int = 100
    split: str = "test"
    seed: int = 0
    batch_size: int = 32
    bounds: BoundConfig = field(default_factory=BoundConfig)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"split is {self.split!r}; expected one of {', '.join(SPLITS)}")
        if len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"tasks is {self.tasks}; expected none twice")
        for name, least in (("count", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def scoring(self) -> BoundConfig:
        """How right answers are scored."""
        return replace(self.bounds, batch=self.batch_size, seed=self.seed)

    def chosen(self, trained: tuple[str, ...]) -> tuple[str, ...]:
        """The tasks to measure; InputError if the run was not trained on one."""
        for task in self.tasks:
            if task not in trained:
                raise InputError(f"tasks has {task!r}; the run was trained on {', '.join(trained)}")
        return self.tasks or trained


def evaluate_diffusion(
    run: Run, settings: DiffusionEvaluation, on_progress: Progress | None = None
) -> dict[str, Any]:
    """What a loaded run can do, per task: `{task: {judged, likelihood}}`.

    `judged` has mean and standard error of everything the task's judge says about the run's own
    answers to mazes, `correct` first; records have no judge, and None there. `likelihood` has the
    bounds of `likelihood.TaskLikelihood` on the right answers.

    Args:
        run: of a `MaskedDiffusionExperiment` or a `RecordsExperiment`, post-trained or not.
        settings: what to measure.
        on_progress: called with (label, done, total).

    Raises:
        InputError: a task the run was not trained on; records without held-out ones.
    """
    experiment, results = run.experiment, {}
    chosen = settings.chosen(experiment.tasks())
    count = settings.count
    if hasattr(experiment, "world"):
        judge = judge_of(run, mazes=count, batch=settings.batch_size, split=settings.split)
        source = judge.source
    else:
        judge, source = None, _held_out_records(experiment, settings, chosen)
    for task in chosen:
        advance = None
        if on_progress is not None:
            on_progress(f"{task}: answers", 0, count)
            advance = _labelled(on_progress, f"{task}: likelihood")
        judged = None
        if judge is not None:
            answered = judge.answer(run.params, task, seed=settings.seed)
            judged = {name: finite(x) for name, x in as_measures(answered).items()}
        if task in source.tasks:
            scored = run_likelihood(run, source, task, count, settings.scoring(), advance)
            results[task] = {"judged": judged, "likelihood": scored.as_json()}
    return results


def _held_out_records(
    experiment: Any, settings: DiffusionEvaluation, chosen: tuple[str, ...]
) -> Any:
    if settings.split != "test":
        raise InputError(
            f"split is {settings.split!r}; records have no splits: data.held_out is evaluated"
        )
    source = experiment.held_out_source()
    missing = [task for task in chosen if task not in source.tasks]
    if missing and (settings.tasks or len(missing) == len(chosen)):
        raise InputError(
            f"tasks has {missing[0]!r}; the held-out records are of {', '.join(source.tasks)}"
        )
    return source


def evaluate_diffusion_run(
    run_directory: str | Path,
    settings: DiffusionEvaluation,
    *,
    name: str | None = None,
    step: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluates a run's newest (or given) checkpoint and writes RUN/evaluation/NAME.json.

    Args:
        run_directory: as for `evaluate_diffusion`.
        settings: what to measure.
        name: of the file; by default `step-N`, the split added unless it is test.
        step: of the checkpoint.
        on_progress: called with (label, done, total).

    Returns:
        The document (schema, name, run, step, decoding, data, settings, tasks, seconds,
        environment) and the path it was written to.

    Raises:
        InputError: a name that is no file name, a task the run was not trained on.
        FailureError: no run or checkpoint there, or the disk refuses.
    """
    if name is not None and (not name or name != PurePath(name).name):
        raise InputError(f"name is {name!r}; expected a plain file name without directories")
    directory, begin = as_path(run_directory), time.perf_counter()
    run = load_run(directory, step, merge=False)
    if name is None:
        name = f"step-{run.step}" + ("" if settings.split == "test" else f"-{settings.split}")
    decoding = getattr(run.experiment, "decoding", None)
    document = {
        "schema": SCHEMA,
        "name": name,
        "run": directory.resolve().name,
        "step": run.step,
        "decoding": None if decoding is None else asdict(decoding),
        "data": "mazes" if hasattr(run.experiment, "world") else "records",
        "settings": {**asdict(settings), "bounds": asdict(settings.scoring())},
        "tasks": evaluate_diffusion(run, settings, on_progress),
        "seconds": time.perf_counter() - begin,
        "environment": environment(),
    }
    path = directory / "evaluation" / f"{name}.json"
    write_atomically(path, dump(document))
    return document, path


def _labelled(on_progress: Progress, label: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(label, done, total)

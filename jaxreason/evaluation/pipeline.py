"""A model evaluated: problems, completions, verdicts, one JSON document (`documents`)."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.documents import SCHEMA, dump
from jaxreason.evaluation.environment import environment
from jaxreason.evaluation.measuring import SamplerFactory, completer, measure
from jaxreason.evaluation.settings import (
    EvaluationSettings,
    Solved,
    default_limit,
    draw_problems,
)
from jaxreason.evaluation.tables import default_bin_width
from jaxreason.mazes import MazeConfig
from jaxreason.paths import as_path
from jaxreason.training.files import write_atomically
from jaxreason.types import Params, Sampler


def evaluate(
    model: Any,
    params: Params,
    vocabulary: Any,
    maze: MazeConfig,
    settings: EvaluationSettings,
    *,
    regime: str = "",
    tie_break: str = "paper",
    name: str = "evaluation",
    run: str = "",
    step: int | None = None,
    make_sampler: SamplerFactory | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluates a model on every generator; returns the document of `documents`.

    Args:
        model: a transformer; not used where `make_sampler` is given.
        params: its parameters.
        vocabulary: of mazes of this size.
        maze: size of the mazes and what the model was trained on.
        settings: what to measure.
        regime: of the training data.
        tie_break: of the A* that made the training data; `exact` compares with it.
        name: of the evaluation.
        run: of the run.
        step: of the checkpoint.
        make_sampler: replaces autoregressive decoding.
        on_progress: called with (label, completed, total) as completions come.

    Raises:
        InputError: no generator can exist at this size.
    """
    problems, skipped = _problems(settings, maze, tie_break)
    limit = settings.max_new_tokens or default_limit(problems, regime)
    make_sampler = make_sampler or _autoregressive(model, vocabulary)
    bin_width = settings.bin_width or default_bin_width(maze.width, maze.height)
    complete = completer(make_sampler, params, vocabulary, problems, settings, limit)
    used = {"max_new_tokens": limit, "bin_width": bin_width}
    measured = measure(complete, problems, settings, bin_width, tie_break, on_progress)
    return {
        "schema": SCHEMA,
        "name": name,
        "run": run,
        "regime": regime,
        "tie_break": tie_break,
        "trained_on": maze.generator,
        "step": step,
        "parameters": sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params)),
        "width": maze.width,
        "height": maze.height,
        "settings": {**json.loads(json.dumps(asdict(settings))), **used},
        "skipped": skipped,
        **measured,
        "environment": environment(),
    }


def _problems(
    settings: EvaluationSettings, maze: MazeConfig, tie_break: str
) -> tuple[dict[str, list[Solved]], list[dict[str, str]]]:
    problems, skipped = draw_problems(settings, maze, tie_break)
    if not problems:
        reasons = "; ".join(f"{item['generator']}: {item['reason']}" for item in skipped)
        raise InputError(f"generators: none can be evaluated at this size ({reasons})")
    return problems, skipped


def _autoregressive(model: Any, vocabulary: Any) -> SamplerFactory:
    from jaxreason.sampling.autoregressive import autoregressive

    def make(temperature: float, samples: int, max_new_tokens: int) -> Sampler:
        return autoregressive(
            model,
            max_new_tokens=max_new_tokens,
            eos=vocabulary.eos,
            pad=vocabulary.pad,
            temperature=temperature,
            samples=samples,
        )

    return make


def evaluate_run(
    run_directory: str | Path,
    settings: EvaluationSettings,
    *,
    name: str | None = None,
    step: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluates a run's newest (or given) checkpoint and writes RUN/evaluation/NAME.json.

    Args:
        run_directory: of a maze experiment.
        settings: what to measure.
        name: of the file; by default `step-N` with the checkpoint's step, the split added unless
            it is test.
        step: of the checkpoint.
        on_progress: see `evaluate`.

    Returns:
        The document and the path it was written to.

    Raises:
        FailureError: no run or checkpoint there, or the disk refuses.
    """
    from jaxreason.training.experiment import MazeExperiment
    from jaxreason.training.runs import load_run

    if name is not None and (not name or name != PurePath(name).name):
        raise InputError(f"name is {name!r}; expected a plain file name without directories")
    run = as_path(run_directory)
    loaded = load_run(run, step, merge=False)
    if not isinstance(loaded.experiment, MazeExperiment):
        raise InputError(
            f"{run_directory} was trained on {loaded.experiment.words()}; only models of mazes are "
            "evaluated here"
        )
    data = loaded.experiment.data
    if name is None:
        name = f"step-{loaded.step}" + ("" if settings.split == "test" else f"-{settings.split}")
    document = evaluate(
        loaded.model,
        loaded.params,
        loaded.experiment.vocabulary(),
        data.maze,
        settings,
        regime=data.regime,
        tie_break=data.tie_break,
        name=name,
        run=run.resolve().name,
        step=loaded.step,
        on_progress=on_progress,
    )
    path = run / "evaluation" / f"{name}.json"
    write_atomically(path, dump(document))
    return document, path

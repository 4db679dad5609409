"""A model evaluated: problems, completions, verdicts, one JSON document (`documents`)."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

import jax
import numpy as np

from jaxreason.errors import InputError
from jaxreason.evaluation.documents import SCHEMA, dump
from jaxreason.evaluation.environment import environment
from jaxreason.evaluation.generate import Generated, generate
from jaxreason.evaluation.judge import Judged, judge_completions, trace_length
from jaxreason.evaluation.settings import (
    EvaluationSettings,
    Solved,
    default_limit,
    draw_problems,
)
from jaxreason.evaluation.tables import bin_edges, default_bin_width, summarise
from jaxreason.mazes import MazeConfig
from jaxreason.paths import as_path
from jaxreason.training.files import write_atomically
from jaxreason.types import Params, Sampler

SamplerFactory = Callable[[float, int, int], Sampler]
"""(temperature, samples, max_new_tokens) to a sampler."""


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
    problems, skipped = draw_problems(settings, maze, tie_break)
    if not problems:
        reasons = "; ".join(f"{item['generator']}: {item['reason']}" for item in skipped)
        raise InputError(f"generators: none can be evaluated at this size ({reasons})")
    limit = settings.max_new_tokens or default_limit(problems, regime)
    make_sampler = make_sampler or _autoregressive(model, vocabulary)
    pooled = [pair for group in problems.values() for pair in group]
    bin_width = settings.bin_width or default_bin_width(maze.width, maze.height)
    edges = bin_edges([trace_length(trace.events) for _, trace in pooled], bin_width)
    results: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    seconds = {"generate": 0.0, "judge": 0.0}
    done, total = 0, len(pooled) * len(settings.temperatures)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(f"temperature {temperature:g}", done, total)

    for temperature in settings.temperatures:
        samples = settings.samples if temperature > 0 else 1
        begin = time.perf_counter()
        generated = generate(
            make_sampler(temperature, samples, limit),
            params,
            vocabulary,
            [problem for problem, _ in pooled],
            samples=samples,
            seed=settings.seed,
            batch_size=settings.batch_size,
            on_batch=advance,
        )
        middle = time.perf_counter()
        judged, shown = _judge_all(
            generated, problems, temperature, samples, edges, settings, tie_break
        )
        results += judged
        examples += shown
        seconds["generate"] += middle - begin
        seconds["judge"] += time.perf_counter() - middle
    used = {"max_new_tokens": limit, "bin_width": bin_width}
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
        "results": results,
        "examples": examples,
        "seconds": seconds,
        "environment": environment(),
    }


def _judge_all(
    generated: Generated,
    problems: Mapping[str, Sequence[Solved]],
    temperature: float,
    samples: int,
    edges: Sequence[int],
    settings: EvaluationSettings,
    tie_break: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results and examples of one temperature; completions come in the order of the problems."""
    results, examples, first = [], [], 0
    for generator, group in problems.items():
        part = _part(generated, first, first + samples * len(group))
        first += samples * len(group)
        judged = judge_completions(
            group, part.words, part.tokens.tolist(), part.finished.tolist(), tie_break
        )
        results.append(
            {
                "generator": generator,
                "temperature": temperature,
                "metrics": summarise(judged, edges),
                "completions": judged.as_json(),
            }
        )
        examples += _examples(generator, temperature, group, part.words, judged, settings)
    return results, examples


def _part(generated: Generated, first: int, last: int) -> Generated:
    return Generated(
        generated.words[first:last], generated.tokens[first:last], generated.finished[first:last]
    )


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


def _examples(
    generator: str,
    temperature: float,
    group: Sequence[Solved],
    words: Sequence[Sequence[str]],
    judged: Judged,
    settings: EvaluationSettings,
) -> list[dict[str, Any]]:
    """The first few solved and the first few failed problems, at the first temperature only."""
    if temperature != settings.temperatures[0]:
        return []
    chosen = []
    for solved in (True, False):
        places = [place for place, valid in enumerate(judged.plan_valid) if valid == solved]
        for place in places[: settings.examples]:
            problem, trace = group[judged.problem[place]]
            rows = ["".join(".#"[int(not free)] for free in row) for row in problem.floor]
            chosen.append(
                {
                    "generator": generator,
                    "temperature": temperature,
                    "solved": solved,
                    "problem": {
                        "rows": rows,
                        "start": list(problem.start),
                        "goal": list(problem.goal),
                    },
                    "response": " ".join(words[place]),
                    "events": trace.events.tolist(),
                    "plan": trace.plan.tolist(),
                }
            )
    return chosen


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
    loaded = load_run(run, step)
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

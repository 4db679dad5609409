"""All temperatures of an evaluation: completions, verdicts, examples and the seconds they took."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxreason.evaluation.generate import Generated, generate
from jaxreason.evaluation.judge import Judged, judge_completions, trace_length
from jaxreason.evaluation.settings import EvaluationSettings, Solved
from jaxreason.evaluation.tables import bin_edges, summarise
from jaxreason.types import Params, Sampler

SamplerFactory = Callable[[float, int, int], Sampler]
"""(temperature, samples, max_new_tokens) to a sampler."""

Complete = Callable[[float, Callable[[int], None]], Generated]
"""(temperature, called with the number of completions as they come) to those of all problems."""


def completer(
    make_sampler: SamplerFactory,
    params: Params,
    vocabulary: Any,
    problems: Mapping[str, Sequence[Solved]],
    settings: EvaluationSettings,
    limit: int,
) -> Complete:
    """How the problems are completed, in their order, in up to `limit` tokens each."""

    def complete(temperature: float, on_batch: Callable[[int], None]) -> Generated:
        samples = _samples(settings, temperature)
        return generate(
            make_sampler(temperature, samples, limit),
            params,
            vocabulary,
            [problem for group in problems.values() for problem, _ in group],
            samples=samples,
            seed=settings.seed,
            batch_size=settings.batch_size,
            on_batch=on_batch,
        )

    return complete


def _samples(settings: EvaluationSettings, temperature: float) -> int:
    return settings.samples if temperature > 0 else 1


def measure(
    complete: Complete,
    problems: Mapping[str, Sequence[Solved]],
    settings: EvaluationSettings,
    bin_width: int,
    tie_break: str,
    on_progress: Callable[[str, int, int], None] | None,
) -> dict[str, Any]:
    """Results, examples and seconds of all temperatures.

    Args:
        complete: see `completer`.
        problems: by generator.
        settings: what to measure.
        bin_width: of the lengths of true traces, in tokens.
        tie_break: of the A* that `exact` compares with.
        on_progress: called with (label, completed, total) as completions come.
    """
    lengths = [trace_length(trace.events) for group in problems.values() for _, trace in group]
    edges = bin_edges(lengths, bin_width)
    results: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    seconds = {"generate": 0.0, "judge": 0.0}
    done, total = 0, len(lengths) * len(settings.temperatures)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(f"temperature {temperature:g}", done, total)

    for temperature in settings.temperatures:
        begin = time.perf_counter()
        generated = complete(temperature, advance)
        middle = time.perf_counter()
        judged, shown = _judge_all(generated, problems, temperature, edges, settings, tie_break)
        results += judged
        examples += shown
        seconds["generate"] += middle - begin
        seconds["judge"] += time.perf_counter() - middle
    return {"results": results, "examples": examples, "seconds": seconds}


def _judge_all(
    generated: Generated,
    problems: Mapping[str, Sequence[Solved]],
    temperature: float,
    edges: Sequence[int],
    settings: EvaluationSettings,
    tie_break: str,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results and examples of one temperature; completions come in the order of the problems."""
    results, examples, first = [], [], 0
    samples = _samples(settings, temperature)
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

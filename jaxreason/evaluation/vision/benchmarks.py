"""From a benchmark's name and files to its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxreason.errors import InputError
from jaxreason.evaluation.vision import geneval, gqa, mme, pope, vqav2
from jaxreason.evaluation.vision.published import published_notes
from jaxreason.evaluation.vision.reading import read_json, show
from jaxreason.evaluation.vision.report import ScoreReport


@dataclass(frozen=True)
class ScoreOptions:
    """What `jaxreason score` was told.

    Attributes:
        predictions: files of the model, or a folder.
        data: files of the benchmark, or a folder.
        partial: score what is answered.
        consistency: of GQA, too.
    """

    predictions: tuple[str, ...]
    data: tuple[str, ...] = ()
    partial: bool = False
    consistency: bool = False


def score(benchmark: str, options: ScoreOptions) -> ScoreReport:
    """The report of a benchmark that needs no model.

    Raises:
        InputError: an unknown benchmark, files that do not fit it or each other.
        FailureError: a file cannot be read.
    """
    if benchmark not in SCORERS:
        raise InputError(
            f"benchmark is {benchmark!r}; expected one of {', '.join(SCORERS)}, clip, image_reward"
        )
    if options.consistency and benchmark != "gqa":
        raise InputError(f"consistency is of gqa; {benchmark} has none")
    report = SCORERS[benchmark](options)
    return replace(
        report,
        notes=(*report.notes, *_partial(options), *published_notes(benchmark)),
        files={"predictions": list(options.predictions), "data": list(options.data)},
    )


def _partial(options: ScoreOptions) -> tuple[str, ...]:
    return ("scored over what is answered only (--partial)",) if options.partial else ()


def _one(options: ScoreOptions) -> str:
    if len(options.predictions) != 1:
        raise InputError(f"predictions has {len(options.predictions)} files; expected one")
    return options.predictions[0]


def _vqav2(options: ScoreOptions) -> ScoreReport:
    predictions = _one(options)
    if len(options.data) != 1:
        raise InputError(f"data has {len(options.data)} files; expected the annotations file")
    annotations = vqav2.read_annotations(options.data[0])
    answers = vqav2.read_answers(predictions)
    vqav2.check_questions(answers, annotations, options.partial)
    return vqav2.score_vqav2(answers, annotations)


def _pope(options: ScoreOptions) -> ScoreReport:
    if len(options.predictions) != len(options.data) or not options.data:
        raise InputError(
            f"predictions has {len(options.predictions)} files and data {len(options.data)}; "
            "expected one of each for every category, in the same order"
        )
    parts, seen = [], set()
    for questions, answers in zip(options.data, options.predictions, strict=True):
        name = pope.category_of(questions)
        name = questions if name in seen else name
        if name in seen:
            raise InputError(f"data names {questions} twice")
        seen.add(name)
        parts.append((name, *pope.read_pope(questions, answers, options.partial)))
    return pope.score_pope(parts)


def _gqa(options: ScoreOptions) -> ScoreReport:
    predictions = _one(options)
    if len(options.data) not in (1, 2):
        raise InputError(
            f"data has {len(options.data)} files; expected the questions file and, for validity "
            "and plausibility, the choices file"
        )
    questions = gqa.read_gqa_questions(options.data[0])
    choices = gqa.read_gqa_choices(options.data[1]) if len(options.data) == 2 else None
    answers = gqa.read_gqa_answers(predictions)
    wanted = {k: q for k, q in questions.items() if q.balanced or options.consistency}
    asked = {k: answer for k, answer in answers.items() if k in wanted or k not in questions}
    vqav2.check_questions(asked, wanted, options.partial)
    return gqa.score_gqa(answers, questions, choices, options.consistency)


def _mme(options: ScoreOptions) -> ScoreReport:
    results = mme.read_mme(_one(options))
    if len(options.data) > 1:
        raise InputError(f"data has {len(options.data)} entries; expected one folder, or none")
    data = mme.read_mme(options.data[0], answered=False) if options.data else None
    mme.check_mme(results, data, options.partial)
    return mme.score_mme(results)


def _geneval(options: ScoreOptions) -> ScoreReport:
    if len(options.data) != (0 if options.partial else 1):
        raise InputError(
            f"data has {len(options.data)} files; expected evaluation_metadata.jsonl, whose "
            "prompts must all be there, or none with --partial"
        )
    prompts = geneval.read_prompts(options.data[0]) if options.data else None
    return geneval.score_geneval(geneval.read_pictures(_one(options), prompts))


SCORERS: dict[str, Callable[[ScoreOptions], ScoreReport]] = {
    "vqav2": _vqav2,
    "pope": _pope,
    "gqa": _gqa,
    "mme": _mme,
    "geneval": _geneval,
}
"""Benchmark to what scores it."""


def check_document(path: str | Path) -> dict[str, Any]:
    """A score document back from its file.

    Raises:
        InputError: of another kind.
        FailureError: it cannot be read.
    """
    document = read_json(path)
    keys: Sequence[str] = ("schema", "benchmark", "count", "metrics", "tables", "notes", "files")
    if not isinstance(document, dict) or any(key not in document for key in keys):
        raise InputError(f"{path} holds {show(document)}; expected what `jaxreason score` writes")
    return document

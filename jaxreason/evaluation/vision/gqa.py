"""GQA: questions made from scene graphs (Hudson and Manning 2019, arXiv 1902.09506).

Rules of the official eval.py: answers are compared as they are, over the balanced questions.
Files: questions `{id: {question, answer, isBalanced, types, groups, semantic, entailed, ...}}`,
choices `{id: {valid, plausible}}`, predictions `[{questionId, prediction}]`. Grounding is left out:
it scores attention maps.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.reading import Entry, entries, field, read_json, show
from jaxreason.evaluation.vision.report import ScoreReport, Section, mean, per_cent
from jaxreason.evaluation.vision.vqav2 import check_questions, put

_NO_STEP = ("exist", "query: name", "choose name")
_COMMON = ("color", "material", "shape")
_SEMANTIC = {
    "attr": "attribute",
    "cat": "category",
    "global": "scene",
    "obj": "object",
    "rel": "relation",
}


class GqaQuestion(NamedTuple):
    """One question, as far as scores need it.

    Attributes:
        text: of the question.
        image: name of the picture, without its ending.
        answer: the right one.
        balanced: whether it counts.
        structural, semantic, detailed: its types.
        group: its answers' distribution is compared within this group; None: not.
        steps: of reasoning.
        entailed: questions whose answers follow from this one's.
    """

    text: str
    image: str
    answer: str
    balanced: bool
    structural: str
    semantic: str
    detailed: str
    group: str | None
    steps: int
    entailed: tuple[str, ...]


class Choices(NamedTuple):
    """The answers to a question that could be given, and those that make sense."""

    valid: frozenset[str]
    plausible: frozenset[str]


def distribution_distance(
    gold: Mapping[str, Mapping[str, int]], predicted: Mapping[str, Mapping[str, int]]
) -> float | None:
    """The chi-square statistic of predicted against true counts by answer, divided by 100.

    Groups are weighted by their questions; answers that are never right do not count.
    """
    total = sum(sum(counts.values()) for counts in gold.values())
    if not total:
        return None
    weighted = 0.0
    for group, counts in gold.items():
        seen = predicted.get(group, {})
        square = sum((seen.get(answer, 0) - n) ** 2 / n for answer, n in counts.items())
        weighted += square * sum(counts.values())
    return weighted / total / 100


def consistency(
    name: str, answers: Mapping[str, str], questions: Mapping[str, GqaQuestion]
) -> float | None:
    """Share of the questions entailed by one that are answered right, itself left out.

    None if it is answered wrong or entails none.

    Raises:
        InputError: an entailed question or its answer is missing.
    """
    others = [other for other in questions[name].entailed if other != name]
    if answers[name] != questions[name].answer or not others:
        return None
    for other in others:
        if other not in questions or other not in answers:
            lacking = "is not in the data" if other not in questions else "has no prediction"
            raise InputError(
                f"question {other!r}, which {name!r} entails, {lacking}; consistency needs the "
                "file of all questions and answers to all of them"
            )
    return mean([float(answers[other] == questions[other].answer) for other in others])


def score_gqa(
    answers: Mapping[str, str],
    questions: Mapping[str, GqaQuestion],
    choices: Mapping[str, Choices] | None = None,
    consistent: bool = False,
) -> ScoreReport:
    """The numbers of the official scorer over the balanced questions that are answered.

    Args:
        answers: question to answer.
        questions: by id.
        choices: by id; without them validity and plausibility are None.
        consistent: whether to compute consistency, for which all questions must be answered.

    Raises:
        InputError: no answer to a balanced question, or one to an unknown question.
    """
    check_questions(answers, questions, partial=True)
    scored = {n: q for n, q in questions.items() if q.balanced and n in answers}
    if not scored:
        raise InputError("no balanced question is answered; expected at least one")
    right = {name: float(answers[name] == q.answer) for name, q in scored.items()}
    binary = {name: q.structural != "query" for name, q in scored.items()}
    gold: dict[str, Counter[str]] = {}
    predicted: dict[str, Counter[str]] = {}
    for name, q in scored.items():
        if q.group is not None:
            gold.setdefault(q.group, Counter())[q.answer] += 1
            predicted.setdefault(q.group, Counter())[answers[name]] += 1
    follows = [consistency(name, answers, questions) for name in scored] if consistent else []
    metrics: dict[str, float | int | None] = {
        "binary": per_cent([right[name] for name in scored if binary[name]]),
        "open": per_cent([right[name] for name in scored if not binary[name]]),
        "accuracy": per_cent(list(right.values())),
        "consistency": per_cent([share for share in follows if share is not None]),
        "validity": _belonging("valid", answers, scored, choices),
        "plausibility": _belonging("plausible", answers, scored, choices),
        "distribution": distribution_distance(gold, predicted),
    }
    labels = {
        "structural type": lambda q: q.structural,
        "semantic type": lambda q: _SEMANTIC.get(q.semantic, q.semantic),
        "steps": lambda q: q.steps,
        "words": lambda q: len(q.text.split()),
    }
    return ScoreReport(
        "gqa",
        len(scored),
        metrics,
        (
            Section("GQA", ("measure", "value"), tuple(metrics.items())),
            *(_groups(title, label, scored, right) for title, label in labels.items()),
        ),
        (
            "all in per cent but distribution, a distance: lower is better",
            "answers are compared letter by letter, as the official scorer does",
            "consistency needs --consistency, validity and plausibility the choices file",
        ),
    )


def read_gqa_answers(path: str | Path) -> dict[str, str]:
    """The predictions of an official file, by question.

    Raises:
        InputError: an entry of another form, or a question answered twice.
        FailureError: the file cannot be read.
    """
    found: dict[str, str] = {}
    for entry in entries(path, read_json(path), "prediction"):
        put(found, field(entry, "questionId", str), field(entry, "prediction", str), entry)
    return found


def read_gqa_questions(path: str | Path) -> dict[str, GqaQuestion]:
    """The questions of an official file, by id.

    Raises:
        InputError: an entry of another form.
        FailureError: the file cannot be read.
    """
    return {
        name: _question(Entry(f"{path}, question {show(name)}", value))
        for name, value in _objects(path)
    }


def read_gqa_choices(path: str | Path) -> dict[str, Choices]:
    """The choices of an official file, by question. Errors as `read_gqa_questions`."""
    found = {}
    for name, value in _objects(path):
        entry = Entry(f"{path}, question {show(name)}", value)
        found[name] = Choices(*(frozenset(_texts(entry, key)) for key in Choices._fields))
    return found


def _objects(path: str | Path) -> list[tuple[str, Mapping[str, Any]]]:
    document = read_json(path)
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} holds {show(document)}; expected an object of questions by id")
    for name, value in document.items():
        if not isinstance(value, dict):
            raise InputError(f"{path}, question {show(name)} is {show(value)}; expected an object")
    return list(document.items())


def _question(entry: Entry) -> GqaQuestion:
    types = Entry(f"{entry.where}, types", field(entry, "types", dict))
    groups = Entry(f"{entry.where}, groups", field(entry, "groups", dict))
    group = groups.value.get("global")
    steps = [
        f"{field(step, 'operation', str)}: {field(step, 'argument', str)}"
        for step in entries(entry.where, field(entry, "semantic", list), "step")
    ]
    return GqaQuestion(
        field(entry, "question", str),
        field(entry, "imageId", str),
        field(entry, "answer", str),
        field(entry, "isBalanced", bool),
        field(types, "structural", str),
        field(types, "semantic", str),
        field(types, "detailed", str),
        None if group is None else field(groups, "global", str),
        sum(not any(word in step for word in _NO_STEP) for step in steps),
        tuple(_texts(entry, "entailed")),
    )


def _texts(entry: Entry, name: str) -> list[str]:
    values = field(entry, name, list)
    for value in values:
        if not isinstance(value, str):
            raise InputError(f"{entry.where} has {show(value)} in {name}; expected texts")
    return values


def _belonging(
    which: str,
    answers: Mapping[str, str],
    scored: Mapping[str, GqaQuestion],
    choices: Mapping[str, Choices] | None,
) -> float | None:
    if choices is None:
        return None
    found = []
    for name, question in scored.items():
        if "Common" in question.detailed:  # questions of what two things have in common
            found.append(float(answers[name] in _COMMON))
            continue
        if name not in choices:
            raise InputError(f"question {name!r} is not in the choices; are they of this split?")
        found.append(float(answers[name] in getattr(choices[name], which)))
    return per_cent(found)


def _groups(
    title: str, label: Any, scored: Mapping[str, GqaQuestion], right: Mapping[str, float]
) -> Section:
    groups: dict[Any, list[float]] = {}
    for name, question in scored.items():
        groups.setdefault(label(question), []).append(right[name])
    rows = tuple((str(key), per_cent(groups[key]), len(groups[key])) for key in sorted(groups))
    return Section(f"accuracy by {title}, %", (title, "accuracy", "questions"), rows)

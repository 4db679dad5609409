"""VQAv2: how many of ten annotators gave the answer (Antol et al. 2015; Goyal et al. 2017).

An answer's accuracy is the mean over the annotators of min(1, m / 3), where m counts the other
annotators that gave it. Files are those of visualqa.org: `annotations` with ten answers each, and
results `[{question_id, answer}]`.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.reading import Entry, entries, field, read_json, show
from jaxreason.evaluation.vision.report import ScoreReport, Section, per_cent
from jaxreason.evaluation.vision.vqa_words import normalise, trimmed


class Annotation(NamedTuple):
    """What people said of one question.

    Attributes:
        question_type: its first words, `how many`.
        answer_type: `yes/no`, `number` or `other`.
        answers: one of each annotator, ten in the official files.
    """

    question_type: str
    answer_type: str
    answers: tuple[str, ...]


def vqa_accuracy(
    answer: str, answers: Sequence[str], *, normalise_unanimous: bool = False
) -> float:
    """The accuracy of one answer, 0 to 1.

    Args:
        answer: of the model.
        answers: of the annotators.
        normalise_unanimous: the official scorer normalises nothing where all annotators agree, so
            that `Yes` is wrong if all ten said `yes`. True normalises there too, as most later
            scorers do.

    Raises:
        InputError: no annotator.
    """
    if not answers:
        raise InputError("there is no reference answer; expected those of the annotators")
    given, said = trimmed(answer), [trimmed(one) for one in answers]
    if normalise_unanimous or len(set(said)) > 1:
        given, said = normalise(given), [normalise(one) for one in said]
    matches = [one == given for one in said]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)


def score_vqav2(answers: Mapping[int, str], annotations: Mapping[int, Annotation]) -> ScoreReport:
    """The table of the official scorer.

    Args:
        answers: question to the model's answer; every one has an annotation.
        annotations: question to what people said.

    Raises:
        InputError: no answer, or one to a question without annotation.
    """
    check_questions(answers, annotations, partial=True)
    kinds: dict[str, list[float]] = {}
    types: dict[str, list[float]] = {}
    every, normalised = [], []
    for question, answer in answers.items():
        known = annotations[question]
        accuracy = vqa_accuracy(answer, known.answers)
        every.append(accuracy)
        normalised.append(vqa_accuracy(answer, known.answers, normalise_unanimous=True))
        kinds.setdefault(known.answer_type, []).append(accuracy)
        types.setdefault(known.question_type, []).append(accuracy)
    metrics = {
        "accuracy": per_cent(every),
        **{f"accuracy_{name}": per_cent(values) for name, values in sorted(kinds.items())},
        "accuracy_always_normalised": per_cent(normalised),
    }
    return ScoreReport(
        "vqav2",
        len(every),
        metrics,
        (
            Section(
                "VQAv2, %",
                ("answer type", "accuracy", "questions"),
                (("all", per_cent(every), len(every)), *_rows(kinds)),
            ),
            Section(
                "by question type, %", ("question type", "accuracy", "questions"), _rows(types)
            ),
        ),
        (
            "accuracy follows the official scorer, which normalises no answer to a question on "
            "which all annotators agree; accuracy_always_normalised normalises every one",
        ),
    )


def read_answers(path: str | Path) -> dict[int, str]:
    """The answers of an official results file, by question.

    Raises:
        InputError: an entry without question_id or answer, or a question answered twice.
        FailureError: the file cannot be read.
    """
    found: dict[int, str] = {}
    for entry in entries(path, read_json(path), "result"):
        put(found, field(entry, "question_id", int), field(entry, "answer", str), entry)
    return found


def read_annotations(path: str | Path) -> dict[int, Annotation]:
    """The annotations of an official file, by question.

    Raises:
        InputError: an entry of another form, a question twice, or an annotator twice.
        FailureError: the file cannot be read.
    """
    found: dict[int, Annotation] = {}
    for entry in entries(path, _member(path, "annotations"), "annotation"):
        people: dict[int, str] = {}
        for answer in entries(entry.where, field(entry, "answers", list), "answer"):
            put(people, field(answer, "answer_id", int), field(answer, "answer", str), answer)
        if not people:
            raise InputError(f"{entry.where} has no answers; expected those of ten annotators")
        known = Annotation(
            field(entry, "question_type", str),
            field(entry, "answer_type", str),
            tuple(people.values()),
        )
        put(found, field(entry, "question_id", int), known, entry)
    return found


class Question(NamedTuple):
    """One question of an official questions file.

    Attributes:
        question: its number.
        image: number of the COCO picture.
        text: of the question.
    """

    question: int
    image: int
    text: str


def read_questions(path: str | Path) -> tuple[str, list[Question]]:
    """`data_subtype` (such as `val2014`) and the questions of an official file.

    Raises:
        InputError: an entry of another form.
        FailureError: the file cannot be read.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path} holds {show(document)}; expected an object with 'questions'")
    top = Entry(str(path), document)
    subtype = field(top, "data_subtype", str)
    listed = field(top, "questions", list)
    return subtype, [
        Question(
            field(entry, "question_id", int),
            field(entry, "image_id", int),
            field(entry, "question", str),
        )
        for entry in entries(path, listed, "question")
    ]


def put(found: dict[Any, Any], key: Any, value: Any, entry: Entry) -> None:
    """Adds an entry under a key that must be new.

    Raises:
        InputError: it is not.
    """
    if key in found:
        raise InputError(f"{entry.where} has the key {show(key)} again; expected it once")
    found[key] = value


def check_questions(answers: Iterable[Any], known: Mapping[Any, Any], partial: bool) -> None:
    """That all answers belong to a question and, unless `partial`, all questions have one.

    Raises:
        InputError: names the first that does not, and says how many.
    """
    given = set(answers)
    if not given:
        raise InputError("there is no prediction; expected one for each question")
    unknown = [key for key in given if key not in known]
    if unknown:
        raise InputError(
            f"question {show(min(unknown, key=str))} is answered but is not in the data "
            f"({len(unknown)} of {len(given)} predictions); are they of another split?"
        )
    missing = [key for key in known if key not in given]
    if missing and not partial:
        raise InputError(
            f"question {show(missing[0])} has no prediction ({len(missing)} of {len(known)}); "
            "answer all, or score those that are there with --partial"
        )


def _member(path: str | Path, name: str) -> Any:
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path} holds {show(document)}; expected an object with {name!r}")
    return field(Entry(str(path), document), name, list)


def _rows(groups: Mapping[str, list[float]]) -> tuple[tuple[str, float | None, int], ...]:
    return tuple((name, per_cent(values), len(values)) for name, values in sorted(groups.items()))

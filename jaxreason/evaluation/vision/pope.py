"""POPE: does the model see objects that are not there? (Li et al. 2023, arXiv 2305.10355.)

Rules of the official evaluate.py (github.com/RUCAIBox/POPE), oddities included: what is not a no
is a yes, an empty answer too. Files are JSON lines: `{question_id, image, text, label}` of the
benchmark, `{question_id or question, answer}` of the model.
"""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.reading import field, read_lines, show
from jaxreason.evaluation.vision.report import ScoreReport, Section, mean
from jaxreason.evaluation.vision.vqav2 import check_questions, put

_NO = frozenset(("No", "not", "no"))
CATEGORIES = ("random", "popular", "adversarial")


class PopeQuestion(NamedTuple):
    """One question about a picture.

    Attributes:
        image: name of the picture.
        text: the question.
        present: whether the object is there.
    """

    image: str
    text: str
    present: bool


def says_yes(answer: str) -> bool:
    """Whether an answer counts as a yes: unless its first sentence has `No`, `not` or `no`.

    Commas are taken out and words are what single spaces separate; a word with another mark at it,
    such as `no!`, is not recognised.
    """
    return _NO.isdisjoint(answer.split(".")[0].replace(",", "").split(" "))


def pope_metrics(said: Sequence[bool], present: Sequence[bool]) -> dict[str, float | None]:
    """accuracy, precision, recall, f1 and yes_ratio, each 0 to 1; None where it is 0 / 0.

    Args:
        said: whether the model said yes.
        present: whether yes is right.

    Raises:
        InputError: no answers, or not as many as labels.
    """
    if not said or len(said) != len(present):
        raise InputError(
            f"there are {len(said)} answers and {len(present)} labels; expected as many, and some"
        )
    pairs = list(zip(said, present, strict=True))
    both, yes, there = pairs.count((True, True)), sum(said), sum(present)
    precision = both / yes if yes else None
    recall = both / there if there else None
    f1 = None
    if precision is not None and recall is not None and precision + recall > 0:
        f1 = 2 * precision * recall / (precision + recall)
    return {
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "yes_ratio": yes / len(pairs),
    }


def score_pope(parts: Sequence[tuple[str, Sequence[bool], Sequence[bool]]]) -> ScoreReport:
    """The table over (category, whether yes was said, whether yes is right).

    The mean of the categories' F1, which papers report, and of their accuracies is added if there
    are several.

    Raises:
        InputError: no part, or one without answers.
    """
    if not parts:
        raise InputError("there is no file to score; expected at least one")
    metrics: dict[str, float | int | None] = {}
    rows, found = [], []
    for category, said, present in parts:
        values = pope_metrics(said, present)
        found.append(values)
        metrics |= {f"{category}_{name}": value for name, value in values.items()}
        rows.append((category, *map(_hundred, values.values()), len(said)))
    if len(parts) > 1:
        means = {name: _mean([values[name] for values in found]) for name in found[0]}
        metrics |= {f"mean_{name}": value for name, value in means.items()}
        count = sum(len(said) for _, said, _ in parts)
        rows.append(("mean", *map(_hundred, means.values()), count))
    columns = ("questions", "accuracy", "precision", "recall", "F1", "says yes", "count")
    return ScoreReport(
        "pope",
        sum(len(said) for _, said, _ in parts),
        metrics,
        (Section("POPE, %", columns, tuple(rows)),),
        ("an answer without No, not or no in its first sentence counts as a yes",),
    )


def read_pope(
    questions: str | Path, answers: str | Path, partial: bool = False
) -> tuple[list[bool], list[bool]]:
    """Whether yes was said, and whether yes is right, question by question.

    Answers belong to questions by `question_id`, or line by line if they have none, as the
    official scorer takes them.

    Args:
        questions: file of the benchmark.
        answers: file of the model.
        partial: whether questions may be without an answer; needs ids.

    Raises:
        InputError: an entry of another form, or answers that do not fit the questions.
        FailureError: a file cannot be read.
    """
    known = read_pope_questions(questions)
    lines = list(read_lines(answers))
    if not lines:
        raise InputError(f"{answers} holds no answers")
    if all("question_id" not in line.value for line in lines):
        if len(lines) != len(known):
            raise InputError(
                f"{answers} holds {len(lines)} answers without question_id, and {questions} "
                f"{len(known)} questions; expected as many"
            )
        for line, question in zip(lines, known.values(), strict=True):
            asked = field(line, "question", str, optional=True)
            if asked is not None and asked != question.text:
                raise InputError(
                    f"{line.where} answers {show(asked)}; that line of {questions} asks "
                    f"{show(question.text)}"
                )
        said = [says_yes(field(line, "answer", str)) for line in lines]
        return said, [question.present for question in known.values()]
    by_id: dict[int, bool] = {}
    for line in lines:
        put(by_id, field(line, "question_id", int), says_yes(field(line, "answer", str)), line)
    check_questions(by_id, known, partial)
    asked_ids = [number for number in known if number in by_id]
    return [by_id[i] for i in asked_ids], [known[i].present for i in asked_ids]


def read_pope_questions(path: str | Path) -> dict[int, PopeQuestion]:
    """The questions of an official file, by question_id.

    Raises:
        InputError: an entry of another form, a question twice, a label that is not yes or no.
        FailureError: the file cannot be read.
    """
    found: dict[int, PopeQuestion] = {}
    for line in read_lines(path):
        label = field(line, "label", str)
        if label not in ("yes", "no"):
            raise InputError(f"{line.where} has label {show(label)}; expected 'yes' or 'no'")
        question = PopeQuestion(field(line, "image", str), field(line, "text", str), label == "yes")
        put(found, field(line, "question_id", int), question, line)
    if not found:
        raise InputError(f"{path} holds no questions")
    return found


def category_of(path: str | Path) -> str:
    """The category that a file's name tells, or the name itself."""
    stem = PurePath(str(path)).stem
    return next((name for name in CATEGORIES if name in stem), stem)


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None

"""MME: yes or no, twice for each picture, in fourteen subtasks (Fu et al. 2023, arXiv 2306.13394).

Rules of the official calculation.py. A folder of results has a file SUBTASK.txt for each subtask,
with lines `picture TAB question TAB right answer TAB answer`, two of each picture in succession;
the benchmark's own files have the first three columns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.reading import read_text, show
from jaxreason.evaluation.vision.report import ScoreReport, Section
from jaxreason.paths import as_path

PERCEPTION = (
    *("existence", "count", "position", "color", "posters"),
    *("celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = (
    *("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
)
SUBTASKS = (*PERCEPTION, *COGNITION)


class MmeLine(NamedTuple):
    """One question.

    Attributes:
        image: name of the picture.
        question: with the request for yes or no.
        truth: "yes" or "no".
        answer: of the model; None in the benchmark's own files.
    """

    image: str
    question: str
    truth: str
    answer: str | None


class SubtaskScore(NamedTuple):
    """One subtask.

    Attributes:
        accuracy: share of the questions that are answered right.
        accuracy_plus: share of the pictures of which both are.
        other: answers that are neither yes nor no.
        questions: how many there are.
    """

    accuracy: float
    accuracy_plus: float
    other: int
    questions: int

    @property
    def score(self) -> float:
        """Their sum in per cent, at most 200."""
        return 100 * (self.accuracy + self.accuracy_plus)


def said(answer: str) -> str:
    """`yes`, `no` or `other`: what the first four characters hold, yes first, in any case."""
    start = answer.lower()[:4]
    return next((word for word in ("yes", "no") if word in start), "other")


def score_subtask(lines: Sequence[MmeLine]) -> SubtaskScore:
    """The score of one subtask's lines, those of a picture next to each other.

    Raises:
        InputError: no lines, an odd number, or one without an answer.
    """
    if not lines or len(lines) % 2:
        raise InputError(f"there are {len(lines)} lines; expected two for each picture")
    words = []
    for line in lines:
        if line.answer is None:
            raise InputError(f"the question {show(line.question)} has no answer")
        words.append(said(line.answer))
    right = [word == line.truth for word, line in zip(words, lines, strict=True)]
    both = [a and b for a, b in zip(right[::2], right[1::2], strict=True)]
    return SubtaskScore(
        sum(right) / len(right), sum(both) / len(both), words.count("other"), len(lines)
    )


def score_mme(subtasks: Mapping[str, Sequence[MmeLine]]) -> ScoreReport:
    """Scores by subtask, and the totals of perception (at most 2000) and cognition (800).

    A total is None unless all of its subtasks are there.

    Raises:
        InputError: no subtask, or an unknown one.
    """
    if not subtasks or set(subtasks) - set(SUBTASKS):
        raise InputError(
            f"subtasks are {', '.join(subtasks) or 'none'}; expected some of {', '.join(SUBTASKS)}"
        )
    scores = {name: score_subtask(subtasks[name]) for name in SUBTASKS if name in subtasks}
    metrics: dict[str, float | int | None] = {}
    rows: list[tuple[str, float | None, float | None, float | None, int | None, int | None]] = []
    for group, names in (("perception", PERCEPTION), ("cognition", COGNITION)):
        complete = all(name in scores for name in names)
        total = sum(scores[name].score for name in names) if complete else None
        metrics[group] = total
        rows.append((group, total, None, None, None, None))
        for name in names:
            if name in scores:
                s = scores[name]
                metrics |= {name: s.score, f"{name}_accuracy": 100 * s.accuracy}
                metrics[f"{name}_accuracy_plus"] = 100 * s.accuracy_plus
                values = (s.score, 100 * s.accuracy, 100 * s.accuracy_plus, s.other, s.questions)
                rows.append((f"  {name}", *values))
    columns = ("subtask", "score", "accuracy", "accuracy+", "neither", "questions")
    return ScoreReport(
        "mme",
        sum(s.questions for s in scores.values()),
        metrics,
        (Section("MME", columns, tuple(rows)),),
        (
            "a score is accuracy + accuracy+ (both questions of a picture right), in per cent; an "
            "answer is what its first four characters say",
        ),
    )


def read_mme(folder: str | Path, answered: bool = True) -> dict[str, list[MmeLine]]:
    """The lines of each subtask that a folder has.

    Args:
        folder: of files SUBTASK.txt.
        answered: whether the lines have four columns, or three.

    Raises:
        InputError: no such folder or file, a line of another form, pictures that do not come in
            pairs.
        FailureError: a file cannot be read.
    """
    folder = as_path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected one with {SUBTASKS[0]}.txt and others")
    found = {
        name: _read_subtask(folder / f"{name}.txt", answered)
        for name in SUBTASKS
        if (folder / f"{name}.txt").is_file()
    }
    if not found:
        raise InputError(f"{folder} holds none of the files {', '.join(SUBTASKS)} (.txt)")
    return found


def check_mme(
    results: Mapping[str, Sequence[MmeLine]],
    data: Mapping[str, Sequence[MmeLine]] | None,
    partial: bool = False,
) -> None:
    """That all subtasks are there, and that they are the benchmark's.

    Args:
        results: of the model.
        data: of the benchmark; None leaves the second check out, as the official scorer does.
        partial: whether subtasks may be missing.

    Raises:
        InputError: names the subtask and the line.
    """
    missing = [name for name in SUBTASKS if name not in results]
    if missing and not partial:
        raise InputError(
            f"subtask {missing[0]} is missing ({len(missing)} of {len(SUBTASKS)}); answer all, or "
            "score those that are there with --partial"
        )
    for name, lines in results.items() if data is not None else ():
        asked = (data or {}).get(name)
        if asked is None:
            raise InputError(f"subtask {name} is answered but is not in the data")
        if [line[:3] for line in lines] != [line[:3] for line in asked]:
            pairs = zip(lines, asked, strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a[:3] != b[:3]), len(asked))
            raise InputError(
                f"subtask {name} differs from the data at line {at + 1} of {len(lines)} "
                f"({len(asked)} in the data); expected the same pictures, questions and answers"
            )


def _read_subtask(path: Path, answered: bool) -> list[MmeLine]:
    columns = 4 if answered else 3
    lines = []
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        parts = text.removesuffix("\r").split("\t")
        if len(parts) != columns:
            raise InputError(
                f"{path}, line {number} has {len(parts)} columns; expected {columns}: picture, "
                f"question, right answer{', answer' if answered else ''}, with tabs between"
            )
        truth = parts[2].lower()
        if truth not in ("yes", "no"):
            raise InputError(
                f"{path}, line {number} has the right answer {show(parts[2])}; expected Yes or No"
            )
        answer = parts[3] if answered else None
        lines.append(MmeLine(parts[0], parts[1], truth, answer))
        if len(lines) % 2 == 0 and lines[-2].image != lines[-1].image:
            raise InputError(
                f"{path}, line {number} is about {show(lines[-1].image)} and the line before about "
                f"{show(lines[-2].image)}; expected two lines of each picture in succession"
            )
    if len(lines) % 2 or not lines:
        raise InputError(f"{path} has {len(lines)} lines; expected two for each picture")
    return lines

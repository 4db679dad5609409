"""The questions of a benchmark's official files, and its official form of answers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.gqa import read_gqa_questions
from jaxreason.evaluation.vision.mme import read_mme
from jaxreason.evaluation.vision.pope import read_pope_questions
from jaxreason.evaluation.vision.vqav2 import read_questions
from jaxreason.training.files import write_atomically

Key = str | int


class AskedQuestion(NamedTuple):
    """One question.

    Attributes:
        key: of the question in its file.
        images: names under which its picture may lie in the folder of pictures, best first.
        text: of the question.
    """

    key: Key
    images: tuple[str, ...]
    text: str


def read_asked(benchmark: str, data: str | Path) -> list[AskedQuestion]:
    """The questions of a benchmark, in the order of its file.

    Args:
        benchmark: vqav2 (questions file; pictures COCO_SPLIT_NUMBER.jpg), pope (one file of JSON
            lines), gqa (questions file; pictures ID.jpg) or mme (folder of SUBTASK.txt with three
            columns; pictures SUBTASK/NAME or SUBTASK/images/NAME).
        data: the file or folder.

    Raises:
        InputError: data of another form, or no question.
        FailureError: it cannot be read.
    """
    found = _READERS[benchmark](data)
    if not found:
        raise InputError(f"{data} holds no question")
    return found


def write_answers(
    benchmark: str, data: str | Path, answers: Mapping[Key, str], folder: Path
) -> Path:
    """Writes answers in the benchmark's official form; returns the file or, of mme, the folder.

    MME's are written once both questions of a picture are answered.

    Raises:
        FailureError: the disk refuses.
    """
    if benchmark == "mme":
        return _write_mme(data, answers, folder / "mme")
    if benchmark == "pope":
        lines = [json.dumps({"question_id": k, "answer": v}) + "\n" for k, v in answers.items()]
        path, text = folder / "pope.jsonl", "".join(lines)
    else:
        names = {"vqav2": ("question_id", "answer"), "gqa": ("questionId", "prediction")}
        key, value = names[benchmark]
        path = folder / f"{benchmark}.json"
        text = json.dumps([{key: k, value: v} for k, v in answers.items()]) + "\n"
    write_atomically(path, text.encode())
    return path


def _vqav2(data: str | Path) -> list[AskedQuestion]:
    subtype, questions = read_questions(data)
    return _unique(
        data,
        [
            AskedQuestion(q.question, (f"COCO_{subtype}_{q.image:012d}.jpg",), q.text)
            for q in questions
        ],
    )


def _pope(data: str | Path) -> list[AskedQuestion]:
    return [AskedQuestion(k, (q.image,), q.text) for k, q in read_pope_questions(data).items()]


def _gqa(data: str | Path) -> list[AskedQuestion]:
    questions = read_gqa_questions(data)
    return [AskedQuestion(k, (f"{q.image}.jpg",), q.text) for k, q in questions.items()]


def _mme(data: str | Path) -> list[AskedQuestion]:
    found = []
    for subtask, lines in read_mme(data, answered=False).items():
        for number, line in enumerate(lines):
            images = (f"{subtask}/{line.image}", f"{subtask}/images/{line.image}")
            found.append(AskedQuestion(f"{subtask}/{number}", images, line.question))
    return found


_READERS = {"vqav2": _vqav2, "pope": _pope, "gqa": _gqa, "mme": _mme}


def _unique(data: str | Path, questions: Sequence[AskedQuestion]) -> list[AskedQuestion]:
    seen: set[Key] = set()
    for question in questions:
        if question.key in seen:
            raise InputError(f"{data} has question {question.key} twice")
        seen.add(question.key)
    return list(questions)


def _write_mme(data: str | Path, answers: Mapping[Key, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for subtask, lines in read_mme(data, answered=False).items():
        text = ""
        for first in range(0, len(lines), 2):
            pair = range(first, first + 2)
            if all(f"{subtask}/{number}" in answers for number in pair):
                for number in pair:
                    said = " ".join(answers[f"{subtask}/{number}"].split())
                    line = lines[number]
                    truth = line.truth.capitalize()
                    text += f"{line.image}\t{line.question}\t{truth}\t{said}\n"
        if text:
            write_atomically(folder / f"{subtask}.txt", text.encode())
    return folder

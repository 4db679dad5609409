"""Questions of benchmarks, from files in their official layouts.

GSM8K: JSON lines or Parquet with `question`, `answer` (after `####`). MATH500: `problem`,
`solution`, `answer`. MMLU: the authors' CSV without a heading (question, four choices, letter; the
subject is in the file's name), or `question`, `subject`, `choices`, `answer`. ARC: the authors'
JSON lines or `question`, `choices`, `answerKey`. TruthfulQA: `question`, `mc1_targets`. A folder is
read whole, its files in the order of their names.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.reading import open_rows
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Question:
    """One question with its right answer.

    Attributes:
        name: what tells it from others of its file: an identifier it has, else its number.
        text: of the question.
        answer: right answer as its file has it; of choices, the letter of the right one.
        solution: what a solved example says; the answer where there is nothing longer.
        choices: texts; () where the answer is free.
        subject: part of the benchmark; "" where it has none.
    """

    name: str
    text: str
    answer: str
    solution: str
    choices: tuple[str, ...] = ()
    subject: str = ""


class Questions(NamedTuple):
    """A file's questions, and what changes with its content."""

    questions: tuple[Question, ...]
    digest: str


def read_questions(benchmark: str, path: str, split: str = "") -> Questions:
    """All questions of a file or folder.

    Args:
        benchmark: key of `settings.BENCHMARKS`.
        path: of a file, a folder, or a pattern with `*`.
        split: of a folder, the word that its files' names must have.

    Raises:
        InputError: a question that is not in the benchmark's layout; names file and line.
        FailureError: it cannot be read.
    """
    files = _csv_files(path, split) if benchmark == "mmlu" else []
    if files:
        found, digest = _read_csv(files)
    else:
        rows = open_rows(DataConfig(path=path, split=split))
        digest = hashlib.blake2b(repr(rows.identity).encode(), digest_size=8).hexdigest()
        read = _READERS[benchmark]
        found = [read(_Row(rows[i], rows.where(i)), str(i)) for i in range(len(rows))]
    if not found:
        raise InputError(f"data {path!r} has no question of {benchmark}")
    return Questions(tuple(found), digest)


class _Row(NamedTuple):
    """A row of a file, and where it is."""

    values: Mapping[str, Any]
    where: str

    def get(self, name: str, kind: type) -> Any:
        """A column, of a kind.

        Raises:
            InputError: it is missing, empty or of another kind.
        """
        value = self.values.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            columns = ", ".join(sorted(map(str, self.values)))
            held = f"has {name} {value!r:.60}" if name in self.values else f"lacks {name!r}"
            raise InputError(f"{self.where}: {held}; expected {kind.__name__} (it has {columns})")
        if isinstance(value, str) and not value.strip():
            raise InputError(f"{self.where}: {name} is empty")
        return value

    def choices(self, texts: Any, right: int, by_letter: bool = False) -> dict[str, Any]:
        """The fields of a question with choices, whose solution is the letter or the text."""
        known = isinstance(texts, Sequence) and not isinstance(texts, str)
        if not known or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{self.where}: choices are {texts!r:.60}; expected a list of texts")
        if len(texts) < 2:
            raise InputError(f"{self.where}: there are {len(texts)} choices; expected at least 2")
        if not 0 <= right < len(texts):
            raise InputError(
                f"{self.where}: the answer is number {right} of {len(texts)} choices; expected "
                f"0 to {len(texts) - 1}"
            )
        answer = letter(right)
        solution = answer if by_letter else texts[right]
        return {"choices": tuple(texts), "answer": answer, "solution": solution}


def letter(place: int) -> str:
    """The letter of a choice; beyond J its number, as lists of unlike length have no letters."""
    return LETTERS[place] if place < len(LETTERS) else str(place + 1)


def _gsm8k(row: _Row, number: str) -> Question:
    answer = row.get("answer", str)
    if "####" not in answer or not answer.rpartition("####")[2].strip():
        raise InputError(f"{row.where}: answer {answer[-40:]!r} has nothing after '####'")
    return Question(number, row.get("question", str), answer, answer)


def _math500(row: _Row, number: str) -> Question:
    answer, solution = row.get("answer", str), row.get("solution", str)
    name, subject = row.values.get("unique_id", number), row.values.get("subject", "")
    return Question(str(name), row.get("problem", str), answer, solution, subject=str(subject))


def _mmlu(row: _Row, number: str) -> Question:
    answer = row.values.get("answer")
    if isinstance(answer, str) and answer.strip() in LETTERS[:4] and answer.strip():
        right = LETTERS.index(answer.strip())
    else:
        right = row.get("answer", int)
    fields = row.choices(row.values.get("choices"), right, by_letter=True)
    if len(fields["choices"]) != 4:
        raise InputError(f"{row.where}: there are {len(fields['choices'])} choices; expected 4")
    subject = str(row.values.get("subject", ""))
    return Question(number, row.get("question", str).strip(), subject=subject, **fields)


def _arc(row: _Row, number: str) -> Question:
    question, key = row.values.get("question"), row.get("answerKey", str)
    if isinstance(question, Mapping):  # the authors' files
        row = _Row({**row.values, "question": question.get("stem")}, row.where)
        listed = question.get("choices")
        pairs = [(c.get("label"), c.get("text")) for c in listed or () if isinstance(c, Mapping)]
        labels, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    else:
        table = row.get("choices", Mapping)
        labels, texts = list(table.get("label") or ()), list(table.get("text") or ())
    if key not in labels or len(labels) != len(texts):
        raise InputError(f"{row.where}: answerKey {key!r} is none of the labels {labels!r:.60}")
    name = str(row.values.get("id", number))
    return Question(name, row.get("question", str), **row.choices(texts, labels.index(key)))


def _truthfulqa(row: _Row, number: str) -> Question:
    table = row.get("mc1_targets", Mapping)
    if "choices" in table and "labels" in table:
        texts, labels = list(table["choices"]), list(table["labels"])
    else:  # the authors' files: text to 0 or 1
        texts, labels = list(table), list(table.values())
    if len(texts) != len(labels) or [label == 1 for label in labels].count(True) != 1:
        raise InputError(f"{row.where}: labels {labels!r:.60}; expected a single 1 among them")
    return Question(number, row.get("question", str), **row.choices(texts, labels.index(1)))


_READERS: Mapping[str, Callable[[_Row, str], Question]] = {
    "gsm8k": _gsm8k,
    "math500": _math500,
    "mmlu": _mmlu,
    "arc_challenge": _arc,
    "truthfulqa_mc1": _truthfulqa,
}


def _csv_files(path: str, split: str) -> list[Path]:
    found = as_path(path)
    if "*" in found.name:
        files = sorted(found.parent.glob(found.name))
    elif found.is_dir():
        files = sorted(found.glob("*.csv"))
    else:
        files = [found]
    files = [file for file in files if file.name.lower().endswith(".csv")]
    chosen = [file for file in files if not split or split in re.split(r"[_.]", file.name)]
    if files and not chosen:
        raise InputError(f"data {path!r} has no CSV file with {split!r} in its name")
    return chosen


def _read_csv(files: Sequence[Path]) -> tuple[list[Question], str]:
    found: list[Question] = []
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        try:
            data = file.read_bytes()
            text = data.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise FailureError(f"{file} cannot be read: {error}") from error
        digest.update(data)
        subject = re.sub(r"_(test|dev|val|auxiliary)$", "", file.stem)
        for number, (line, cells) in enumerate(_lines(file, text)):
            where = f"{file}, line {line}"
            if len(cells) != 6:
                raise InputError(
                    f"{where}: {len(cells)} columns; expected question, four choices and a letter"
                )
            values = {"question": cells[0], "choices": cells[1:5], "answer": cells[5]}
            row = _Row({**values, "subject": subject}, where)
            found.append(_mmlu(row, f"{subject}/{number}"))
    return found, digest.hexdigest()


def _lines(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}") from error

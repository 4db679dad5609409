"""Results of benchmarks on disk: NAME.json, and every answer in NAME.jsonl beside it.

The document of NAME.json:

    schema        year and month of this layout
    benchmark     its name; setting: that of the setting
    complete      whether every question that was asked for is answered
    identity      what answers depend on; answers are only added to those of the same identity:
                  {benchmark, settings, changed}; digests of the files (data, examples) and of all
                  prompts as the model is given them (prompts); {run, step}, digests of the model's
                  shape (model) and of all its weights (weights); the tokenizer's own identity;
                  {max_length, thinking, seed}; draws: masks per choice; group: questions that are
                  sampled together, 0 at temperature 0
    count         questions answered; available: questions of the file
    metrics       metric to share {value, standard_error, n, successes, clusters}; the first is the
                  headline
    subjects      subject to share of the headline metric, where there are subjects
    cut           prompts that lost their beginning because the model sees no more tokens
    estimate      "exact", or "evidence bound" of diffusion models' probabilities
    prompt        the first one, in full
    environment   {jaxreason, jax, python, device, devices, command}; seconds: of this process

A line of NAME.jsonl: {number, name, subject, question, answer, cut, text or nats, METRIC: {found,
correct}}.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.paths import as_path, is_local

SCHEMA = "26.1"


class AnswerFiles:
    """NAME.json and NAME.jsonl of one benchmark of one model.

    Args:
        folder: where they are.
        name: without suffix.
        identity: what the answers depend on.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = folder, dict(identity)
        self.document, self.answers = folder / f"{name}.json", folder / f"{name}.jsonl"

    def resume(self, restart: bool, whole: int) -> list[dict[str, Any]]:
        """The answers that are there, and a file that holds just these.

        A last line that was only half written is dropped, and with it what does not fill a group
        of `whole`, in which answers are sampled together.

        Raises:
            InputError: they are of another identity, and `restart` is not set.
            FailureError: a file cannot be read or written.
        """
        found: list[dict[str, Any]] = []
        if not restart and self.document.is_file():
            self._check(read_result(self.document)["identity"])
            found = self._read()
            found = found[: len(found) // whole * whole]
        with disk_errors(str(self.folder)):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.answers.write_text("".join(map(_line, found)), encoding="utf-8")
        return found

    def add(self, found: Sequence[Mapping[str, Any]], so_far: Sequence[Mapping[str, Any]]) -> None:
        """Adds answers to those so far; in an object store, writes all of them."""
        with disk_errors(str(self.answers)):
            if not is_local(self.answers):
                every = [*so_far, *found]
                self.answers.write_text("".join(map(_line, every)), encoding="utf-8")
                return
            with self.answers.open("a", encoding="utf-8") as file:
                file.writelines(map(_line, found))
                file.flush()
                os.fsync(file.fileno())

    def write(self, document: Mapping[str, Any]) -> Path:
        """Writes the document; returns its path."""
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        with disk_errors(str(self.document)):
            self.document.write_text(text, encoding="utf-8")
        return self.document

    def _check(self, before: Mapping[str, Any]) -> None:
        identity = json.loads(json.dumps(self.identity))
        for field in (*identity, *(name for name in before if name not in identity)):
            there, here = before.get(field), identity.get(field)
            if there != here:
                shown = _difference(there, here)
                raise InputError(
                    f"{self.document} has answers with another {field}: {shown}; give another "
                    "--name, or --restart to answer again"
                )

    def _read(self) -> list[dict[str, Any]]:
        if not self.answers.is_file():
            return []
        lines = self.answers.read_text(encoding="utf-8").split("\n")[:-1]
        found = []
        for number, line in enumerate(lines):
            try:
                answer = json.loads(line)
            except ValueError as error:
                raise FailureError(
                    f"{self.answers}, line {number + 1} is no JSON: {error}; --restart answers "
                    "again"
                ) from error
            if not isinstance(answer, dict) or answer.get("number") != number:
                raise FailureError(
                    f"{self.answers}, line {number + 1} is not the answer of question {number}; "
                    "--restart answers again"
                )
            found.append(answer)
        return found


def _line(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False, allow_nan=False) + "\n"


def _difference(there: Any, here: Any) -> str:
    if isinstance(there, dict) and isinstance(here, dict):
        for name in (*there, *here):
            if there.get(name) != here.get(name):
                return f"{name} {there.get(name)!r:.80} instead of {here.get(name)!r:.80}"
    return f"{there!r:.80} instead of {here!r:.80}"


def is_result(value: Any) -> bool:
    """Whether a JSON value is a document of a benchmark, of texts or of pictures."""
    return isinstance(value, dict) and "benchmark" in value and "metrics" in value


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        FailureError: it cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # no text, or no JSON
        raise FailureError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise FailureError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def read_result(path: str | Path) -> dict[str, Any]:
    """A document back from its file.

    Raises:
        FailureError: it cannot be read, or is no result of a benchmark.
    """
    path = as_path(path)
    value = read_object(path)
    if not is_result(value) or value.get("schema") != SCHEMA:
        raise FailureError(
            f"{path} is no result of `jaxreason benchmark` or `jaxreason score` (schema {SCHEMA})"
        )
    return value


def read_results(directory: str | Path) -> list[dict[str, Any]]:
    """The results of benchmarks in a run directory (its `evaluation/`), or in any other folder.

    Documents of other kinds in it are passed over.

    Raises:
        FailureError: a JSON file there is damaged.
    """
    folder = as_path(directory)
    found = []
    for place in (folder, folder / "evaluation"):
        for path in sorted(place.glob("*.json")) if place.is_dir() else ():
            if is_result(read_object(path)):
                found.append(read_result(path))
    return found

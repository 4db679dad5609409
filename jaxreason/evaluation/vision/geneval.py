"""GenEval's report from a detector's file, or from the official scorer's results.

The detector's file is JSON lines, one picture each:

    {"filename": "00000/samples/0000.png", "metadata": {...}, "detections":
     {"dog": [{"box": [x0, y0, x1, y1], "score": 0.98, "color": "red"}]}}

`metadata` is a line of the official evaluation_metadata.jsonl, as an object or as its text; `color`
is needed where a prompt asks for one. Lines of the official results.jsonl have `tag`, `correct` and
`metadata` instead of detections, and are taken as judged.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.geneval_rules import (
    COLOURS,
    RELATIONS,
    TASKS,
    Detection,
    Prompt,
    Verdict,
    Wanted,
    judge,
    kept,
)
from jaxreason.evaluation.vision.reading import Entry, entries, field, read_lines, show
from jaxreason.evaluation.vision.report import ScoreReport, Section, mean, per_cent


class Judged(NamedTuple):
    """One picture.

    Attributes:
        prompt: what was asked for.
        verdict: on it.
        filename: of it.
    """

    prompt: Prompt
    verdict: Verdict
    filename: str


def score_geneval(pictures: Sequence[Judged]) -> ScoreReport:
    """Share of right pictures by task, and the overall score: the mean over the tasks.

    Raises:
        InputError: no picture.
    """
    if not pictures:
        raise InputError("there is no picture to score; expected at least one")
    tasks: dict[str, list[float]] = {}
    prompts: dict[Prompt, list[float]] = {}
    for picture in pictures:
        right = float(picture.verdict.correct)
        tasks.setdefault(picture.prompt.tag, []).append(right)
        prompts.setdefault(picture.prompt, []).append(right)
    shares = {name: sum(tasks[name]) / len(tasks[name]) for name in TASKS if name in tasks}
    overall = mean(list(shares.values()))
    everything = [float(picture.verdict.correct) for picture in pictures]
    metrics: dict[str, float | int | None] = {
        "overall": overall,
        **shares,
        "correct_images": mean(everything),
        "correct_prompts": mean([max(values) for values in prompts.values()]),
        "prompts": len(prompts),
    }
    rows = [(name, per_cent(tasks[name]), len(tasks[name])) for name in shares]
    rows.append(
        ("overall (mean of tasks)", None if overall is None else 100 * overall, len(shares))
    )
    missing = [name for name in TASKS if name not in tasks]
    notes = ["what the detector saw decides; it is not part of this program"]
    if missing:
        notes.append(f"tasks without a picture, not in the mean: {', '.join(missing)}")
    return ScoreReport(
        "geneval",
        len(pictures),
        metrics,
        (Section("GenEval, %", ("task", "right", "pictures"), tuple(rows)),),
        tuple(notes),
    )


def read_pictures(path: str | Path, prompts: Iterable[Prompt] | None = None) -> list[Judged]:
    """The pictures of a detector's file, judged, or those of official results.

    Args:
        path: of the file.
        prompts: those there must be, and no others; None does not check.

    Raises:
        InputError: a line of another form, a colour that is needed and not there, a prompt of
            another benchmark or one without a picture.
        FailureError: the file cannot be read.
    """
    found = []
    for line in read_lines(path):
        prompt = _prompt(Entry(f"{line.where}, metadata", _metadata(line)))
        filename = field(line, "filename", str)
        if ("correct" in line.value) == ("detections" in line.value):
            raise InputError(
                f"{line.where} needs one of 'detections' (of a detector) and 'correct' (of the "
                "official results)"
            )
        if "correct" in line.value:
            correct = field(line, "correct", bool)
            verdict = Verdict(correct, field(line, "reason", str, optional=True) or "")
        else:
            objects = kept(_detections(line), prompt.tag)
            _check_colours(line, prompt, objects)
            verdict = judge(prompt, objects)
        found.append(Judged(prompt, verdict, filename))
    if prompts is not None:
        _check_prompts(path, found, list(prompts))
    return found


def read_prompts(path: str | Path) -> list[Prompt]:
    """The prompts of an official evaluation_metadata.jsonl.

    Raises:
        InputError: a line of another form.
        FailureError: the file cannot be read.
    """
    return [_prompt(line) for line in read_lines(path)]


def _metadata(line: Entry) -> Mapping[str, Any]:
    value = line.value.get("metadata")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{line.where} has metadata that are no JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(
            f"{line.where} has metadata {show(value)}; expected a line of evaluation_metadata.jsonl"
        )
    return value


def _prompt(entry: Entry) -> Prompt:
    tag = field(entry, "tag", str)
    if tag not in TASKS:
        raise InputError(f"{entry.where} has tag {show(tag)}; expected one of {', '.join(TASKS)}")
    include = field(entry, "include", list)
    exclude = field(entry, "exclude", list, optional=True) or []
    return Prompt(
        tag,
        field(entry, "prompt", str),
        tuple(_wanted(e, n) for n, e in enumerate(entries(entry.where, include, "inclusion"))),
        tuple(_wanted(e, 0) for e in entries(entry.where, exclude, "exclusion")),
    )


def _wanted(entry: Entry, place: int) -> Wanted:
    """A clause; it may refer to the clauses before its own place."""
    count = field(entry, "count", int)
    if count < 1:
        raise InputError(f"{entry.where} has count {count}; expected at least 1")
    colour = field(entry, "color", str, optional=True)
    if colour is not None and colour not in COLOURS:
        raise InputError(f"{entry.where} has color {show(colour)}; expected {', '.join(COLOURS)}")
    position = field(entry, "position", list, optional=True)
    if position is not None and not _is_position(position, place):
        raise InputError(
            f"{entry.where} has position {show(position)}; expected a relation "
            f"({', '.join(RELATIONS)}) and the number of a clause before it"
        )
    at = None if position is None else (position[0], position[1])
    return Wanted(field(entry, "class", str), count, colour, at)


def _is_position(value: list[Any], place: int) -> bool:
    if len(value) != 2 or value[0] not in RELATIONS or not isinstance(value[1], int):
        return False
    return not isinstance(value[1], bool) and 0 <= value[1] < place


def _detections(line: Entry) -> dict[str, list[Detection]]:
    found = {}
    for name, values in field(line, "detections", dict).items():
        where = f"{line.where}, {show(name)}"
        found[name] = [_detection(entry) for entry in entries(where, values, "detection")]
    return found


def _detection(entry: Entry) -> Detection:
    box = field(entry, "box", list)
    numbers = [n for n in box if isinstance(n, (int, float)) and not isinstance(n, bool)]
    if len(box) != 4 or len(numbers) != 4 or max(map(abs, numbers)) > 1e9:
        raise InputError(f"{entry.where} has box {show(box)}; expected left, top, right, bottom")
    left, top, right, bottom = map(float, numbers)
    score = field(entry, "score", float)
    if not 0 <= score <= 1:
        raise InputError(f"{entry.where} has score {show(score)}; expected 0 to 1")
    colour = field(entry, "color", str, optional=True)
    return Detection((left, top, right, bottom), float(score), colour)


def _check_colours(line: Entry, prompt: Prompt, objects: Mapping[str, Sequence[Detection]]) -> None:
    for want in prompt.include if any(w.colour for w in prompt.include) else ():
        for one in objects.get(want.name, ())[: want.count] if want.colour else ():
            if one.colour not in COLOURS:
                raise InputError(
                    f"{line.where} has a {want.name} of color {show(one.colour)}, and its prompt "
                    f"asks for a colour; expected one of {', '.join(COLOURS)}"
                )


def _check_prompts(path: str | Path, found: Sequence[Judged], prompts: Sequence[Prompt]) -> None:
    shown, known = {picture.prompt for picture in found}, set(prompts)
    for picture in found:
        if picture.prompt not in known:
            raise InputError(
                f"{path} has {picture.filename} for the prompt {show(picture.prompt.text)}, which "
                "is not in the data"
            )
    missing = [prompt for prompt in prompts if prompt not in shown]
    if missing:
        raise InputError(
            f"{path} has no picture for the prompt {show(missing[0].text)} "
            f"({len(missing)} of {len(prompts)} are missing); score those that are there with "
            "--partial"
        )

"""When a picture shows what GenEval's prompt asks for (Ghosh et al. 2023, arXiv 2310.11513).

Rules of the official evaluate_images.py on what a detector saw. The detector is not ours: it and
the classifier of colours are run elsewhere (the official ones are Mask2Former and CLIP ViT-L/14).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLOURS = (
    *("red", "orange", "yellow", "green", "blue"),
    *("purple", "pink", "brown", "black", "white"),
)
RELATIONS = ("left of", "right of", "above", "below")

THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
MOST_OBJECTS = 16
POSITION_THRESHOLD = 0.1


class Detection(NamedTuple):
    """One object that was seen.

    Attributes:
        box: left, top, right and bottom in pixels.
        score: confidence, 0 to 1.
        colour: one of `COLOURS`; None if nobody asked.
    """

    box: tuple[float, float, float, float]
    score: float
    colour: str | None = None


@dataclass(frozen=True)
class Wanted:
    """One clause of a prompt.

    Attributes:
        name: class of the object.
        count: at least so many; in an exclusion, fewer.
        colour: that so many of the most confident ones must have; None for any.
        position: relation and place of the clause whose objects it is to.
    """

    name: str
    count: int
    colour: str | None = None
    position: tuple[str, int] | None = None


class Prompt(NamedTuple):
    """One prompt, as the official metadata describe it.

    Attributes:
        tag: one of `TASKS`.
        text: for the image model.
        include: what must be seen.
        exclude: what must not.
    """

    tag: str
    text: str
    include: tuple[Wanted, ...]
    exclude: tuple[Wanted, ...] = ()


class Verdict(NamedTuple):
    """Whether a picture is right, and if not, why."""

    correct: bool
    reason: str


def kept(
    detections: Mapping[str, Sequence[Detection]], tag: str, overlap: float = 1.0
) -> dict[str, list[Detection]]:
    """The objects that count, the most confident first.

    Those above confidence 0.3 (0.9 where the task is counting), at most 16 of a class, and of two
    of a class that overlap (intersection over union) by `overlap` or more the first; the official
    value, 1, keeps both.
    """
    least = COUNTING_THRESHOLD if tag == "counting" else THRESHOLD
    found: dict[str, list[Detection]] = {}
    for name, seen in detections.items():
        confident = [one for one in seen if one.score > least]
        waiting = sorted(confident, key=lambda one: -one.score)[:MOST_OBJECTS]
        while waiting:
            first, *rest = waiting
            found.setdefault(name, []).append(first)
            waiting = [o for o in rest if overlap == 1 or _overlap(first.box, o.box) < overlap]
    return found


def relations(a: Detection, b: Detection) -> set[str]:
    """Where `a` is, seen from `b`: none, one or two of `RELATIONS`.

    The offset of the centres is shortened, along each axis, by a tenth of both objects' sizes;
    what remains, measured by the whole offset, must be more than a half.
    """
    boxes = np.array([a.box, b.box], np.float64).reshape(2, 2, 2)
    centres, sizes = boxes.mean(axis=1), np.abs(boxes[:, 1] - boxes[:, 0])
    offset = centres[0] - centres[1]
    beyond = np.abs(offset) - POSITION_THRESHOLD * sizes.sum(axis=0)
    shortened = np.maximum(beyond, 0) * np.sign(offset)
    if (np.abs(shortened) < 1e-3).all():
        return set()
    x, y = shortened / np.linalg.norm(offset)
    holds = {"left of": x < -0.5, "right of": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, true in holds.items() if true}


def judge(prompt: Prompt, objects: Mapping[str, Sequence[Detection]]) -> Verdict:
    """The official verdict on the objects of one picture.

    Only the `count` most confident objects of a clause are looked at for colour and place.

    Args:
        prompt: what was asked for.
        objects: what `kept` leaves, by class.
    """
    reasons: list[str] = []
    matched: list[Sequence[Detection] | None] = []
    for want in prompt.include:
        found = list(objects.get(want.name, ()))[: want.count]
        reason = _lacking(want, found, matched)
        reasons += [reason] if reason else []
        matched.append(None if reason else found)
    for want in prompt.exclude:
        seen = len(objects.get(want.name, ()))
        if seen >= want.count:
            reasons.append(f"fewer than {want.count} {want.name} wanted, {seen} seen")
    return Verdict(not reasons, "; ".join(reasons))


def _lacking(
    want: Wanted, found: Sequence[Detection], matched: Sequence[Sequence[Detection] | None]
) -> str:
    """What is wrong with the objects of a clause; empty if nothing is."""
    if len(found) < want.count:
        return f"{want.count} {want.name} wanted, {len(found)} seen"
    if want.colour is not None:
        right = sum(one.colour == want.colour for one in found)
        if right < want.count:
            return f"{want.count} {want.colour} {want.name} wanted, {right} seen"
    if want.position is None:
        return ""
    relation, place = want.position
    targets = matched[place]
    if targets is None:
        return f"{want.name} wanted {relation} what was not seen"
    for one in found:
        for target in targets:
            true = relations(one, target)
            if relation not in true:
                is_at = " and ".join(sorted(true)) or "near"
                return f"{want.name} wanted {relation} the other, seen {is_at}"
    return ""


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of boxes whose last pixels belong to them."""

    def area(left: float, top: float, right: float, bottom: float) -> float:
        return max(right - left + 1, 0) * max(bottom - top + 1, 0)

    both = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    either = area(*a) + area(*b) - both
    return both / either if either else 0.0

"""CLIP score and ImageReward of pictures for their texts.

Pairs are JSON lines `{image, text}`, the image's name relative to a folder.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.vision.pictures import picture_path, read_picture
from jaxreason.evaluation.vision.reading import field, read_lines
from jaxreason.evaluation.vision.report import ScoreReport, Section
from jaxreason.paths import local_path

CLIPSCORE_WEIGHT = 2.5
"""Of Hessel et al. 2021 (arXiv 2104.08718)."""

CLIPSCORE_PROMPT = "A photo depicts "
"""What they put before a caption."""


class Pair(NamedTuple):
    """A picture and its text.

    Attributes:
        image: path of the file.
        text: of which it is to be a picture.
    """

    image: Path
    text: str


def clip_numbers(cosines: np.ndarray) -> dict[str, float]:
    """The forms in which papers report CLIP's cosines, each a mean over the pictures.

    `clip` is 100 cos, `clip_floored` 100 max(cos, 0), `clipscore` 2.5 max(cos, 0).
    """
    floored = np.maximum(cosines, 0)
    return {
        "clip": float(100 * np.mean(cosines)),
        "clip_floored": float(100 * np.mean(floored)),
        "clipscore": float(CLIPSCORE_WEIGHT * np.mean(floored)),
    }


def read_pairs(path: str | Path, images: str | Path) -> list[Pair]:
    """The pairs of a file; every picture must be there.

    Raises:
        InputError: a line of another form, or a picture that is not inside the folder.
        FailureError: the file cannot be read.
    """
    folder, pairs = local_path(images, "images"), []
    if not folder.is_dir():
        raise InputError(f"images {folder} is no folder")
    for line in read_lines(path):
        text, name = field(line, "text", str), field(line, "image", str)
        try:
            pairs.append(Pair(picture_path(folder, [name]), text))
        except InputError as error:
            raise InputError(f"{line.where}: {error}") from error
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return pairs


def score_pictures(
    benchmark: str,
    pairs: Sequence[Pair],
    scorer: Callable[[Sequence[str], Sequence[np.ndarray]], np.ndarray],
    batch_size: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScoreReport:
    """The table of a scorer over pairs; pictures are read a batch at a time.

    Args:
        benchmark: "clip", whose scorer gives cosines, or "image_reward".
        pairs: pictures and texts.
        scorer: `(texts, pictures) -> [B]`.
        batch_size: pictures in memory at once.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        InputError: a text or picture that the scorer refuses.
        FailureError: a picture that cannot be read, or a score that is no finite number.
    """
    found = []
    for batch in _batches(pairs, batch_size):
        pictures = [read_picture(pair.image) for pair in batch]
        values = np.asarray(scorer([pair.text for pair in batch], pictures), np.float64)
        if not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise FailureError(f"the score of {batch[at].image} is {values[at]}")
        found.append(values)
        if on_progress is not None:
            on_progress(sum(map(len, found)), len(pairs))
    values = np.concatenate(found)
    spread = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    if benchmark == "clip":
        metrics: dict[str, float | int | None] = {**clip_numbers(values)}
        metrics["standard_error"] = None if spread is None else 100 * spread
        rows: tuple[tuple[str, float | int | None], ...] = (
            ("100 cos", metrics["clip"]),
            ("100 max(cos, 0)", metrics["clip_floored"]),
            ("CLIPScore, 2.5 max(cos, 0)", metrics["clipscore"]),
            ("standard error of the first", metrics["standard_error"]),
        )
        note = (
            "the published CLIPScore also puts 'A photo depicts ' before texts: --clipscore-prompt"
        )
    else:
        metrics = {"image_reward": float(values.mean()), "standard_error": spread}
        rows = (("ImageReward", metrics["image_reward"]), ("standard error", spread))
        note = "on the scale of the published model, about 0 with deviation 1 on its own data"
    return ScoreReport(
        benchmark,
        len(values),
        metrics,
        (Section(f"{len(values)} pictures", ("measure", "value"), rows, digits=4),),
        (note,),
    )


def _batches(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]

"""Answers of an image-text diffusion model to a benchmark's questions, kept as they come."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.evaluation.vision.answer_settings import FINISHES, AnswerSettings
from jaxreason.evaluation.vision.asked import AskedQuestion, Key
from jaxreason.evaluation.vision.pictures import fitted, picture_path, read_picture
from jaxreason.evaluation.vision.reading import field, read_lines, show
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.tokens.layouts import pad_prompts
from jaxreason.training.diffusion.imported import ImportedModel
from jaxreason.training.diffusion.vision_tokens import VisionTokens, vision_tokens
from jaxreason.training.files import write_atomically
from jaxreason.types import Params

__all__ = ["Answerer", "VisionTokens", "answer_questions", "vision_tokens"]

ANSWERS, ABOUT = "answers.jsonl", "answers.json"
PROMPT_UNIT = 64
"""Prompts are padded to multiples of it, so that few programs are compiled."""


@dataclass(frozen=True)
class Answerer:
    """A model with all that it needs to answer questions about pictures.

    Attributes:
        known: what was imported.
        model: of it.
        params: of the model.
        tokenizer: with `encode`, `decode`, `identity`.
        codec: pictures to codes.
        tokens: the ids around a picture.
    """

    known: ImportedModel
    model: Transformer
    params: Params
    tokenizer: Any
    codec: ImageCodec
    tokens: VisionTokens

    def prompt(self, codes: np.ndarray, text: str) -> np.ndarray:
        """`<mmu> <soi> picture <eoi> bos text`, int32: as `tokens.layouts.mmu_inference`."""
        t = self.tokens
        image = np.asarray(codes, np.int64) + t.image_offset
        ids = self.tokenizer.encode(text)
        return np.concatenate([[t.mmu, t.soi], image, [t.eoi, t.bos], ids]).astype(np.int32)


def answer_questions(
    answerer: Answerer,
    questions: Sequence[AskedQuestion],
    images: Path,
    settings: AnswerSettings,
    folder: Path,
    *,
    about: Mapping[str, Any],
    batch_size: int = 8,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[Key, str]:
    """Answers all questions that the folder has no answer of yet, and gives all of them.

    A line is added to FOLDER/answers.jsonl for each, a batch at a time; the answers are the same
    in one go and after any number of interruptions.

    Args:
        answerer: the model.
        questions: in their order, which batches are made of.
        images: folder of the pictures; nothing outside of it is read.
        settings: how to ask and decode.
        folder: of the answers.
        about: what else the answers depend on, JSON; kept and compared.
        batch_size: questions at a time.
        seed: of the sampling.
        on_progress: called with (questions done, questions in all).

    Raises:
        InputError: a picture that is not there, or a folder with answers of other settings.
        FailureError: a damaged picture or file, or a disk that refuses.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    paths = [picture_path(images, question.images) for question in questions]  # all, at once
    document = {**about, "settings": asdict(settings), "batch_size": batch_size, "seed": seed}
    done = _begin(folder, json.loads(json.dumps(document)))
    sampler, key = _sampler(answerer, settings), jax.random.key(seed)
    for number, start in enumerate(range(0, len(questions), batch_size)):
        batch = questions[start : start + batch_size]
        if not all(question.key in done for question in batch):
            rows = np.minimum(np.arange(start, start + batch_size), len(questions) - 1)
            prompts = _prompts(answerer, questions, paths, settings, rows)
            drawn = jax.random.fold_in(key, number)
            found = jax.device_get(sampler(answerer.params, prompts, drawn))
            for row, question in enumerate(batch):
                if question.key not in done:
                    raw = _text(answerer, found.tokens[row, : int(found.lengths[row])])
                    done[question.key] = FINISHES[settings.finish](raw)
                    _append(folder / ANSWERS, question.key, done[question.key], raw)
        if on_progress is not None:
            on_progress(start + len(batch), len(questions))
    return {question.key: done[question.key] for question in questions}


def _sampler(answerer: Answerer, settings: AnswerSettings) -> Any:
    known = answerer.known
    return diffusion_text(
        answerer.model,
        settings.decoding(),
        mask_id=known.mask,
        eos=known.eos,
        eot=known.eot,
        pad=known.eos,
    )


def _prompts(
    answerer: Answerer,
    questions: Sequence[AskedQuestion],
    paths: Sequence[Path],
    settings: AnswerSettings,
    rows: np.ndarray,
) -> Any:
    side, fit = settings.resolution, settings.fit
    pictures = np.stack([fitted(read_picture(paths[row]), side, fit) for row in rows])
    prompts = [
        answerer.prompt(codes, settings.prompt(questions[row].text))
        for codes, row in zip(answerer.codec.encode(pictures), rows, strict=True)
    ]
    return _padded(prompts, answerer.known.eos)


def _text(answerer: Answerer, ids: np.ndarray) -> str:
    ends = [i for i in (answerer.known.eos, answerer.known.eot) if i is not None]
    return answerer.tokenizer.decode(np.asarray(ids)[~np.isin(ids, ends)])


def _padded(prompts: Sequence[np.ndarray], pad: int) -> dict[str, np.ndarray]:
    made = pad_prompts(prompts, pad)
    columns = -made["tokens"].shape[1] % PROMPT_UNIT
    made["tokens"] = np.pad(made["tokens"], ((0, 0), (0, columns)), constant_values=pad)
    return made


def _begin(folder: Path, document: Mapping[str, Any]) -> dict[Key, str]:
    """What is answered already, by the same model and settings."""
    about, answers = folder / ABOUT, folder / ANSWERS
    if not about.is_file():
        if answers.exists():
            raise InputError(f"{answers} is there without {ABOUT}, which says of what; remove it")
        with disk_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(about, (json.dumps(document, indent=2) + "\n").encode())
        return {}
    try:
        kept = json.loads(about.read_text())
    except (OSError, ValueError) as error:
        raise FailureError(f"{about} cannot be read: {error}") from error
    if not isinstance(kept, dict):
        raise FailureError(f"{about} does not describe answers; choose another folder")
    for name in sorted({*document, *kept}):
        if kept.get(name) != document.get(name):
            raise InputError(
                f"{folder} has answers of another {name} ({show(kept.get(name))}, now "
                f"{show(document.get(name))}); go on with the same, or choose another folder"
            )
    return _kept(answers)


def _kept(path: Path) -> dict[Key, str]:
    """The answers of a file whose last line may have been cut off; that line is taken away."""
    if not path.is_file():
        return {}
    with disk_errors(str(path)):
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            with path.open("r+b") as file:
                file.truncate(len(whole))
    found: dict[Key, str] = {}
    for line in read_lines(path):
        key = line.value.get("question_id")
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise InputError(f"{line.where} has question_id {show(key)}; expected text or a number")
        found[key] = field(line, "answer", str)
    return found


def _append(path: Path, key: Key, answer: str, raw: str) -> None:
    line = json.dumps({"question_id": key, "answer": answer, "raw": raw})
    with disk_errors(str(path)), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")

"""Pictures before questions: what `<image>` in a prompt's text stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.pictures import image_of
from jaxreason.data.language.records import Message, PromptRecord
from jaxreason.data.multimodal.fitting import FITS, pixels_of
from jaxreason.data.multimodal.from_language import IMAGE_MARK
from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.training.diffusion.image_codec import load_image_codec, published_codec
from jaxreason.training.diffusion.vision_tokens import VisionTokens, vision_tokens

Picture = Path | bytes


@dataclass(frozen=True)
class PictureCoder:
    """Pictures to the tokens that stand before a question: `<mmu> <soi> picture <eoi>`.

    Attributes:
        codec: pictures to codes.
        tokens: the ids around a picture.
        fit: how pictures come to the codec's size, see `data.multimodal.fitting`.
    """

    codec: ImageCodec
    tokens: VisionTokens
    fit: str

    @property
    def room(self) -> int:
        """Tokens before a question."""
        return self.codec.tokens + 3

    def prefixes(self, pictures: Sequence[Picture], where: Sequence[str]) -> np.ndarray:
        """[B, room] int32.

        Raises:
            InputError: a picture of a size that is not wanted.
            FailureError: one that cannot be read.
        """
        pixels = [
            pixels_of(TaskRecord(place, "mmu", image=picture), self.codec.picture, self.fit)
            for picture, place in zip(pictures, where, strict=True)
        ]
        codes = np.asarray(self.codec.encode(np.stack(pixels)), np.int32)
        t = self.tokens
        before, after = np.array([[t.mmu, t.soi]]), np.array([[t.eoi]])
        parts = [np.repeat(x, len(codes), axis=0) for x in (before, after)]
        return np.concatenate([parts[0], codes + t.image_offset, parts[1]], axis=1).astype(np.int32)


@dataclass(frozen=True)
class PictureConfig:
    """How questions about pictures are asked: those with `<image>` in their text, a column image.

    Attributes:
        tokenizer: of the pictures: a run directory, or a published folder; "" for none.
        side: rows and columns of pictures for a published one, in pixels; 0 for that of the run.
        fit: how pictures come to that size: "exact", "crop" or "squash".
        ids: of `<mmu>`, `<soi>` and `<eoi>`; None takes MMaDA's.

    Raises:
        InputError: a value out of range, or fields without a tokenizer.
    """

    tokenizer: str = ""
    side: int = 0
    fit: Literal["exact", "crop", "squash"] = "squash"
    ids: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise InputError(f"pictures.fit is {self.fit!r}; expected one of {', '.join(FITS)}")
        if self.side < 0:
            raise InputError(f"pictures.side is {self.side}; expected pixels, or 0")
        if not self.tokenizer and (self.side or self.ids):
            raise InputError("pictures.side or pictures.ids is set; give pictures.tokenizer too")

    def codec(self) -> ImageCodec:
        """The image tokenizer.

        Raises:
            InputError: a published one without `side`, or a run with it.
            FailureError: it cannot be read.
        """
        trained = (as_path(self.tokenizer) / "checkpoints").exists()
        if trained == bool(self.side):
            wanted = "0, as the run says" if trained else "rows and columns, such as 512"
            raise InputError(
                f"pictures.side is {self.side}; with pictures.tokenizer {self.tokenizer} expected "
                f"{wanted}"
            )
        if trained:
            return load_image_codec(self.tokenizer)
        return published_codec(self.tokenizer, self.side)

    def coder(self, known: Any, words: Any) -> PictureCoder | None:
        """Pictures to tokens; None without a tokenizer.

        Args:
            known: what the base was imported as.
            words: its tokenizer of text.

        Raises:
            InputError: a base without image tokens, or fields that do not fit it.
            FailureError: the image tokenizer cannot be read.
        """
        if not self.tokenizer:
            return None
        codec = self.codec()
        return PictureCoder(codec, vision_tokens(known, words, codec, self.ids), self.fit)

    def room(self) -> int:
        """Tokens before a question, for compiling ahead; a published tokenizer is not read."""
        if not self.tokenizer:
            return 0
        # MAGVIT-v2 has a code for every 16 x 16 pixels.
        tokens = (self.side // 16) ** 2 if self.side else self.codec().tokens
        return tokens + 3


def picture_of(record: PromptRecord, data: DataConfig, shown: bool) -> Picture | None:
    """The picture that a prompt asks about; None if its text has no `<image>`.

    Args:
        record: of the prompt.
        data: where it comes from.
        shown: whether pictures can be shown.

    Raises:
        InputError: the row has no picture, or one outside of the data's folder, or none is shown.
        FailureError: there is no such file.
    """
    if not any(IMAGE_MARK in _words(message) for message in record.messages):
        return None
    if not shown:
        raise InputError(
            f"{record.where}: the prompt asks about a picture; give pictures.tokenizer"
        )
    path = as_path(data.path)
    folder = path if path.is_dir() else path.parent
    picture = image_of(record.data.get("image"), folder, record.where)
    if picture is None:
        raise InputError(f"{record.where}: the prompt has {IMAGE_MARK}, and the row no image")
    if not isinstance(picture, bytes) and not picture.is_file():
        raise FailureError(f"{record.where}: image {str(picture)!r} does not exist")
    return picture


def without_mark(messages: Sequence[Message]) -> list[Mapping[str, Any]]:
    """The messages as they stand behind the picture."""
    return [
        {**message, "content": message["content"].replace(IMAGE_MARK, "").strip()}
        if IMAGE_MARK in _words(message)
        else message
        for message in messages
    ]


def _words(message: Message) -> str:
    content = message["content"]
    return content if isinstance(content, str) else ""

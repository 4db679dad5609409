"""What a row of a data set means to a language model: frozen records, checked when they are made.

A message is a plain dict with `role` ("system", "user", "assistant", "tool") and `content`, as chat
templates take it; further keys of a data set's messages (`tool_calls`, `name`) are kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Message = Mapping[str, Any]
Messages = tuple[Message, ...]


@dataclass(frozen=True)
class TextRecord:
    """A text to be continued from nothing.

    Attributes:
        where: file and line (or row) it comes from, for messages.
    """

    text: str
    where: str = ""


@dataclass(frozen=True)
class ChatRecord:
    """A conversation with at least one turn of the assistant."""

    messages: Messages
    where: str = ""


@dataclass(frozen=True)
class PreferenceRecord:
    """A prompt with two continuations, of which one is preferred.

    Attributes:
        prompt: messages before the answers; their last is no turn of the assistant.
        chosen, rejected: messages that answer; they begin and end with the assistant's turn.
    """

    prompt: Messages
    chosen: Messages
    rejected: Messages
    where: str = ""


@dataclass(frozen=True)
class LabelledRecord:
    """A prompt with one continuation that is good or bad (KTO)."""

    prompt: Messages
    completion: Messages
    desirable: bool
    where: str = ""


@dataclass(frozen=True)
class PromptRecord:
    """What a policy is asked, and the answer its completions are judged against.

    Attributes:
        messages: up to the turn of the assistant.
        answer: the right answer as text; "" where the data set has none.
        data: the row's other columns, for rewards that need more.
    """

    messages: Messages
    answer: str
    data: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class ImageTextRecord:
    """A picture and what is said about it.

    Attributes:
        image: an image file, or the bytes of one; None for a row that is text alone.
        messages: with `<image>` where the picture stands (LLaVA's convention); or
        caption: a description of the picture, where the row is no conversation.
        data: the row's other columns.
    """

    image: Path | bytes | None
    messages: Messages = ()
    caption: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


Record = (
    TextRecord | ChatRecord | PreferenceRecord | LabelledRecord | PromptRecord | ImageTextRecord
)

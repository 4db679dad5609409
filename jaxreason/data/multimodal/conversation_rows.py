"""Conversations as rows of masked diffusion: a prompt that stays, and an answer to be learnt."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.data.language.records import ChatRecord, Message, Messages, PromptRecord
from jaxreason.errors import InputError
from jaxreason.tokens.layouts import LayoutRow

TASK = "lm_chat"
OVERFLOWS = ("error", "drop")


class RowLength(NamedTuple):
    """What `mixed_batches` wants of a layout: tokens of a row."""

    length: int


class ConversationRows:
    """Rows for `mixed_batches`, one for each answer of a conversation, all of task lm_chat.

    What follows an answer is filled with the end token up to the row's length and learnt too, as
    LLaDA's fine-tuning does (Nie et al. 2025), so that a model knows where to stop on any canvas.

    Args:
        records: conversations, or prompts with their answers.
        prompt: messages before an answer to their ids, int32 [n].
        answer: text of an answer to its ids with its end, int32 [n].
        length: tokens of a row.
        fill: the end token.
        overflow: "error" refuses conversations that are longer, "drop" leaves them out.
        identity: plain JSON that changes with what records become.

    Attributes:
        dropped: answers left out for being too long.

    Raises:
        InputError: a record that cannot be laid out, or none that can; names file and line.
    """

    tasks: Mapping[str, str] = {TASK: TASK}

    def __init__(
        self,
        records: Sequence[ChatRecord | PromptRecord],
        *,
        prompt: Callable[[Messages, str], np.ndarray],
        answer: Callable[[str], np.ndarray],
        length: int,
        fill: int,
        overflow: str,
        identity: Any,
    ) -> None:
        self.layout, self._fill, self.dropped = RowLength(length), fill, 0
        self._rows: list[tuple[np.ndarray, int]] = []
        content = hashlib.blake2b(digest_size=8)
        for record in records:
            for before, said in rounds(record):
                try:
                    asked = prompt(before, said)
                    tokens = np.concatenate([asked, answer(said)]).astype(np.int32)
                except InputError as error:
                    raise InputError(f"{record.where}: {error}") from error
                if tokens.size <= length:
                    self._rows.append((tokens, asked.size))
                    content.update(tokens.tobytes())
                    continue
                if overflow == "error":
                    raise InputError(
                        f"{record.where}: {tokens.size} tokens, length is {length}; raise it, or "
                        "leave such conversations out with `--overflow drop`"
                    )
                self.dropped += 1
        if not self._rows:
            raise InputError(f"no conversation has at most {length} tokens (length)")
        self.identity = {"rows": content.hexdigest(), "length": length, **identity}

    def count(self, task: str) -> int:
        """Rows of the task."""
        return len(self._rows) if task == TASK else 0

    def row(self, index: int, task: str, drop_text: bool = False) -> LayoutRow:
        """One of them."""
        del task, drop_text
        known, asked = self._rows[index]
        length = self.layout.length
        tokens = np.full(length, self._fill, np.int32)
        tokens[: known.size] = known
        none = np.zeros(length, bool)
        return LayoutRow(tokens, np.arange(length) >= asked, ~none, none, none)


def rounds(record: ChatRecord | PromptRecord) -> list[tuple[Messages, str]]:
    """Each answer of a record with what was said before it.

    Raises:
        InputError: an answer that is no text, or follows nothing; names file and line.
    """
    if isinstance(record, PromptRecord):
        return [(record.messages, record.answer)]
    found = []
    for place, message in enumerate(record.messages):
        if message["role"] == "assistant":
            if not place:
                raise InputError(f"{record.where}: an answer follows no turn of the user")
            found.append((record.messages[:place], _text(message, record.where)))
    return found


def _text(message: Message, where: str) -> str:
    content = message["content"]
    if not isinstance(content, str):
        raise InputError(f"{where}: content is {type(content).__name__}; expected text")
    return content

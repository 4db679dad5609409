"""Records of published data sets as tasks of the diffusion model: text, chat, pictures asked about
and pictures described.
"""

from collections.abc import Iterator

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.messages import plain_text
from jaxreason.data.language.reading import read_records
from jaxreason.data.language.records import (
    ChatRecord,
    ImageTextRecord,
    Message,
    Messages,
    PromptRecord,
    Record,
    TextRecord,
)
from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.errors import InputError
from jaxreason.tokens.chat import Turn

IMAGE_MARK = "<image>"
"""Where LLaVA's texts have the picture; the layouts put it first."""


def read_task_records(config: DataConfig) -> list[TaskRecord]:
    """The records of a data set, a conversation of several rounds once for each of its answers.

    Text becomes task lm, chat lm_chat, a picture with a conversation mmu, a picture with a caption
    t2i; prompts with their answers become lm_chat too.

    Raises:
        InputError: a bad record, or one of a kind that has no task; names file and line.
        FailureError: a file cannot be read.
    """
    if config.kind in ("preference", "labelled"):
        raise InputError(
            f"data.kind is {config.kind!r}; expected text, chat, prompts or image_text to be "
            "learnt from as it stands"
        )
    return [task for record in read_records(config) for task in task_records(record)]


def task_records(record: Record) -> Iterator[TaskRecord]:
    """The tasks that one record sets.

    Raises:
        InputError: a conversation with turns that the layouts do not have; names file and line.
    """
    if isinstance(record, TextRecord):
        yield TaskRecord(record.where, "lm", text=record.text)
    elif isinstance(record, ChatRecord):
        yield from _rounds(record.messages, record.where)
    elif isinstance(record, PromptRecord):
        answer: Message = {"role": "assistant", "content": record.answer}
        yield from _rounds((*record.messages, answer), record.where)
    elif isinstance(record, ImageTextRecord):
        if record.caption:
            if record.image is None:
                raise InputError(f"{record.where}: a caption without a picture")
            yield TaskRecord(record.where, "t2i", question=record.caption, image=record.image)
        else:
            yield from _rounds(record.messages, record.where, record.image)
    else:
        raise InputError(f"{record.where}: {type(record).__name__} is no task of its own")


def _rounds(messages: Messages, where: str, image: object = None) -> Iterator[TaskRecord]:
    """A record for every answer of a conversation, with what was said before it."""
    before: list[Turn] = []
    turns = [Turn(str(message["role"]), _text(message, where)) for message in messages]
    for turn in turns:
        asked = before[-1] if before else None
        if turn.role == "assistant":
            if asked is None or asked.role != "user":
                raise InputError(f"{where}: an answer follows no turn of the user")
            yield TaskRecord(
                where,
                "lm_chat" if image is None else "mmu",
                question=asked.content,
                answer=turn.content,
                image=image,  # type: ignore[arg-type]
                before=tuple(before[:-1]),
            )
        elif turn.role not in ("user", "system"):
            raise InputError(f"{where}: a turn of the {turn.role}, which diffusion rows have not")
        before.append(turn)


def _text(message: Message, where: str) -> str:
    return plain_text([message]).replace(IMAGE_MARK, "").strip()

"""Turns of a conversation in the ways data sets write them, as messages of chat templates."""

from collections.abc import Iterable, Sequence
from typing import Any

from jaxreason.data.language.records import Message, Messages
from jaxreason.errors import InputError

ROLES = ("system", "user", "assistant", "tool", "developer")
_SPEAKERS = {
    **{role: role for role in ROLES},
    **{"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"},
    **{"function_call": "assistant", "observation": "tool"},
}
"""Names of the speaker in ShareGPT's `from` (and of its descendants), and our role."""


def text_of(value: Any, column: str, where: str) -> str:
    """A column that must be text.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{where}: {column} is {_short(value)}; expected text")
    return value


def messages_of(value: Any, column: str, where: str) -> Messages:
    """The messages of a list of `{role, content}` or, as in ShareGPT, `{from, value}`.

    Raises:
        InputError: no such list, or an unknown role.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: {column} is {_short(value)}; expected a list of messages")
    return tuple(
        _message(entry, f"{where}: message {number} of {column}")
        for number, entry in enumerate(value, 1)
    )


def _message(entry: Any, where: str) -> Message:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {_short(entry)}; expected an object")
    # Columnar formats have every key in every message, empty ones as null.
    given = {name: value for name, value in entry.items() if value is not None}
    if "role" in given:
        role, content = given.pop("role"), given.pop("content", None)
        if role not in ROLES:
            raise InputError(f"{where} has role {_short(role)}; expected one of {', '.join(ROLES)}")
    elif "from" in given:
        speaker, content = given.pop("from"), given.pop("value", None)
        role = _SPEAKERS.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            known = ", ".join(_SPEAKERS)
            raise InputError(f"{where} is from {_short(speaker)}; expected one of {known}")
    else:
        raise InputError(f"{where} has {column_names(entry)}; expected role and content")
    if content is None and given.get("tool_calls"):
        content = ""
    if not isinstance(content, str) and not _is_parts(content):
        raise InputError(f"{where} has content {_short(content)}; expected text")
    return {"role": role, "content": content, **given}


def _is_parts(content: Any) -> bool:
    """Whether a content is a list of parts such as {"type": "text", "text": ...}."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content)
    )


def turns_of(value: Any, role: str, column: str, where: str) -> Messages:
    """Messages, or a text as one turn of `role`.

    Raises:
        InputError: neither.
    """
    if isinstance(value, str):
        return ({"role": role, "content": value},)
    return messages_of(value, column, where)


def check_prompt(messages: Messages, where: str) -> None:
    """That a prompt leaves the next turn to the assistant.

    Raises:
        InputError: it does not.
    """
    if messages[-1]["role"] in ("assistant", "system", "developer"):
        raise InputError(
            f"{where}: the prompt ends with a turn of the {messages[-1]['role']}; expected one of "
            "the user"
        )


def check_answer(messages: Messages, column: str, where: str) -> None:
    """That messages begin and end with a turn of the assistant.

    Raises:
        InputError: they do not.
    """
    for place, message in (("begins", messages[0]), ("ends", messages[-1])):
        if message["role"] != "assistant":
            raise InputError(
                f"{where}: {column} {place} with a turn of the {message['role']}; expected one of "
                "the assistant"
            )


def shared_messages(chosen: Messages, rejected: Messages) -> int:
    """How many messages two conversations have in common before their last answers begin."""
    count = 0
    for first, second in zip(chosen[:-1], rejected[:-1], strict=False):
        if first != second:
            break
        count += 1
    # A shared turn of the assistant that is followed by the answer is part of the answer.
    while count and chosen[count - 1]["role"] == "assistant":
        count -= 1
    return count


def shared_text(chosen: str, rejected: str) -> int:
    """Characters two texts have in common; a space before what differs belongs to the answers.

    TRL's `extract_prompt` takes implicit prompts apart in this way.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    count = next((place for place, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
    if count and chosen[count - 1] == " ":
        count -= 1
    return count


def with_system(messages: Messages, system: str) -> Messages:
    """The messages with a system message before them, unless they have one or it is ""."""
    if not system or messages[0]["role"] in ("system", "developer"):
        return messages
    return ({"role": "system", "content": system}, *messages)


def with_suffix(messages: Messages, suffix: str) -> Messages:
    """The messages with a text put after the last turn of the user.

    A turn of several parts gets another part.
    """
    if not suffix:
        return messages
    changed: list[Message] = list(messages)
    for place in range(len(changed) - 1, -1, -1):
        if changed[place]["role"] == "user":
            content = changed[place]["content"]
            if isinstance(content, str):
                content = content + suffix
            else:
                content = [*content, {"type": "text", "text": suffix}]
            changed[place] = {**changed[place], "content": content}
            break
    return tuple(changed)


def plain_text(messages: Sequence[Message]) -> str:
    """The contents of messages, one after the other; parts that are no text are left out."""
    texts = []
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            texts.append(content)
        else:
            texts += [part.get("text", "") for part in content if part["type"] == "text"]
    return "".join(texts)


def column_names(row: Iterable[str]) -> str:
    """The names of a row's columns for a message, however many and long they are."""
    names = list(row)
    shown = ", ".join(_short(name) for name in names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "none"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

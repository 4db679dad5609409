"""Which tokens of a conversation a model is to learn: those of the assistant's messages.

A template that marks them by `{% generation %}` decides. Elsewhere the part of message i is what
rendering the conversation up to i adds to its prompt, provided that both are beginnings of the
whole text, which is checked: templates that rewrite earlier messages when later ones follow
(Qwen3's and DeepSeek-R1's drop reasoning) have no such parts.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.chat_template import Message, Rendered

LEARN = ("all", "last")

_ANSWER = "forty-two-exactly"

Spans = list[tuple[int, int]]


class TrainingChat(NamedTuple):
    """A conversation to learn from.

    Attributes:
        tokens: int32 [n].
        assistant: bool [n], the tokens to learn, the one that ends a turn included.
    """

    tokens: np.ndarray
    assistant: np.ndarray


class EndTokenizer(Protocol):
    """What is needed to find what ends a turn; see `PretrainedTokenizer`."""

    def rendered(self, messages: Sequence[Message]) -> Rendered: ...  # noqa: D102
    def encode(self, text: str) -> np.ndarray: ...  # noqa: D102
    def is_special(self, number: int) -> bool: ...  # noqa: D102


class ChatTokenizer(Protocol):
    """What is needed of a tokenizer; see `PretrainedTokenizer`."""

    @property
    def chat_stops(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def templates(self) -> Mapping[str, Any]: ...  # noqa: D102
    def rendered(self, messages: Sequence[Message], **options: Any) -> Rendered: ...  # noqa: D102
    def encoding(self, text: str) -> Any: ...  # noqa: D102


def encode_training_chat(
    tokenizer: ChatTokenizer, messages: Sequence[Message], learn: str, variables: Mapping[str, Any]
) -> TrainingChat:
    """Tokens of the whole conversation, and which of them are the assistant's.

    A token that begins before a part and ends inside it belongs to the part, as in transformers.
    Without marks, what follows the last stop token of a part (the line break between turns) does
    not; a part without any is learnt whole.

    Raises:
        InputError: `learn` is unknown; no message is the assistant's; the template refuses, or
            rewrites messages; nothing of a part is left.
    """
    if learn not in LEARN:
        raise InputError(f"learn is {learn!r}; expected one of {', '.join(LEARN)}")
    places = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
    if not places:
        raise InputError("no message has the role 'assistant'; there is nothing to learn")
    whole = tokenizer.rendered(messages, **variables)
    marked = bool(whole.spans)
    spans = list(whole.spans) if marked else []
    if not marked:
        chosen = places[-1:] if learn == "last" else places
        spans = [_span(tokenizer, messages, i, whole.text, variables) for i in chosen]
    elif learn == "last":
        spans = spans[-1:]
    encoding = tokenizer.encoding(whole.text)
    tokens = np.array(encoding.ids, np.int32)
    assistant = np.zeros(len(tokens), bool)
    for start, end in spans:
        first, last = _tokens_of(encoding, start, end)
        if not marked:
            last = _up_to_stop(tokens, first, last, tokenizer.chat_stops)
        assistant[first:last] = True
    return TrainingChat(tokens, assistant)


def turn_ends(tokenizer: EndTokenizer) -> tuple[int, ...]:
    """The special tokens that the chat template writes right after an assistant's answer, at the
    end of a conversation and before a further question, white space between them aside.

    None where the template refuses such conversations or does not keep the answer's text, or
    where an ordinary token follows.

    Raises:
        FailureError: the template cannot be rendered.
    """
    asked = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": _ANSWER}]
    found: list[int] = []
    for messages in (asked, [*asked, {"role": "user", "content": "And?"}]):
        try:
            text = tokenizer.rendered(messages).text
        except InputError:
            continue
        before, _, after = text.partition(_ANSWER)
        ids = tokenizer.encode(after.lstrip()).tolist() if before else []
        if ids and tokenizer.is_special(ids[0]):
            found.append(ids[0])
    return tuple(dict.fromkeys(found))


def _span(
    tokenizer: ChatTokenizer,
    messages: Sequence[Message],
    place: int,
    text: str,
    variables: Mapping[str, Any],
) -> tuple[int, int]:
    """First and last character of message `place`, as far as the model says it."""
    if place == 0:
        raise InputError("the first message is the assistant's; expected a question before it")
    before = tokenizer.rendered(messages[:place], **{**variables, "prompt": True}).text
    if place == len(messages) - 1:
        after = text
    else:
        after = tokenizer.rendered(messages[: place + 1], **variables).text
    if not text.startswith(after) or not after.startswith(before):
        why = (
            "its prompt for the answer is not how the answer begins"
            if text.startswith(after)
            else "it renders the message differently when others follow, as templates do that drop "
            "the reasoning of earlier turns; learn='last' with each answer as the end of a "
            "conversation of its own avoids that"
        )
        raise InputError(
            f"the chat template does not say which part of its text is message {place} (the "
            f"assistant's): {why}; a template with {{% generation %}} marks says so"
        )
    return len(before), len(after)


def _tokens_of(encoding: Any, start: int, end: int) -> tuple[int, int]:
    """The tokens that hold characters start..end-1, as (first, last + 1)."""
    first = last = None
    while start < end and (first := encoding.char_to_token(start)) is None:
        start += 1
    while end > start and (last := encoding.char_to_token(end - 1)) is None:
        end -= 1
    if first is None or last is None:
        return 0, 0
    return first, last + 1


def _up_to_stop(tokens: np.ndarray, first: int, last: int, stops: Sequence[int]) -> int:
    found = np.flatnonzero(np.isin(tokens[first:last], stops))
    return first + int(found[-1]) + 1 if found.size else last

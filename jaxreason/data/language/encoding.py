"""Messages as tokens: through the tokenizer's chat template, or as plain text."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxreason.data.language.messages import plain_text
from jaxreason.data.language.records import ChatRecord, Messages, Record, TextRecord
from jaxreason.errors import InputError

TEMPLATES = ("chat", "plain")
LEARN = ("all", "last")


class LanguageTokenizer(Protocol):
    """What is needed of a tokenizer; `tokens.pretrained_tokenizer.PretrainedTokenizer` has it."""

    @property
    def eos(self) -> int | None: ...  # noqa: D102
    @property
    def pad(self) -> int: ...  # noqa: D102
    def encode(self, text: str, special: bool = False) -> np.ndarray: ...  # noqa: D102
    def encode_chat(self, messages: Any, prompt: bool = False) -> np.ndarray: ...  # noqa: D102
    def encode_training_chat(self, messages: Any, learn: str = "all") -> Any: ...  # noqa: D102


class Encoded(NamedTuple):
    """Tokens int32 [n] and which of them are to be learnt, bool [n]."""

    tokens: np.ndarray
    targets_mask: np.ndarray


def check_template(template: str) -> None:
    """That it is one of `TEMPLATES`.

    Raises:
        InputError: it is not.
    """
    if template not in TEMPLATES:
        raise InputError(f"template is {template!r}; expected one of {', '.join(TEMPLATES)}")


def encode_record(
    record: Record, tokenizer: LanguageTokenizer, template: str, learn: str
) -> Encoded:
    """A text or conversation to learn from.

    A text begins as tokenizer.json begins texts and ends with eos; all of it is learnt.

    Raises:
        InputError: another kind of record, or one that the template refuses; names its place.
    """
    if isinstance(record, TextRecord):
        tokens = _closed(tokenizer.encode(record.text, special=True), tokenizer)
        return Encoded(tokens, np.ones(len(tokens), np.bool_))
    if not isinstance(record, ChatRecord):
        raise InputError(
            f"{record.where}: {type(record).__name__} cannot be learnt from as a text; expected "
            "kind 'text' or 'chat'"
        )
    if template == "plain":
        if record.messages[-1]["role"] != "assistant" or len(record.messages) < 2:
            raise InputError(
                f"{record.where}: template 'plain' takes a prompt and an answer; this has "
                f"{_roles(record.messages)}"
            )
        return encode_answer(
            record.messages[:-1], record.messages[-1:], tokenizer, template, record.where
        )
    return _placed(record.where, tokenizer, record.messages, learn)


def encode_answer(
    prompt: Messages,
    answer: Messages,
    tokenizer: LanguageTokenizer,
    template: str,
    where: str,
) -> Encoded:
    """A prompt and its answer, of which the answer alone is learnt, its end included.

    Raises:
        InputError: an answer of several messages, or what the template refuses; names `where`.
    """
    if len(answer) > 1:
        raise InputError(f"{where}: the answer has {len(answer)} messages; expected one")
    if template == "chat":
        return _placed(where, tokenizer, (*prompt, *answer), "last")
    before = encode_prompt(prompt, tokenizer, template, where)
    after = _closed(tokenizer.encode(plain_text(answer)), tokenizer)
    tokens = np.concatenate([before, after]).astype(np.int32)
    return Encoded(tokens, np.arange(len(tokens)) >= len(before))


def encode_prompt(
    prompt: Messages, tokenizer: LanguageTokenizer, template: str, where: str
) -> np.ndarray:
    """[n] int32: what an answer follows.

    Raises:
        InputError: what the template refuses; names `where`.
    """
    if template == "plain":
        if any(message["role"] in ("assistant", "tool") for message in prompt):
            raise InputError(
                f"{where}: template 'plain' has no turns; the prompt has {_roles(prompt)}"
            )
        return np.asarray(tokenizer.encode(plain_text(prompt), special=True), np.int32)
    try:
        return np.asarray(tokenizer.encode_chat(prompt, prompt=True), np.int32)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _placed(where: str, tokenizer: LanguageTokenizer, messages: Messages, learn: str) -> Encoded:
    try:
        tokens, assistant = tokenizer.encode_training_chat(messages, learn)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return Encoded(np.asarray(tokens, np.int32), np.asarray(assistant, np.bool_))


def _closed(tokens: np.ndarray, tokenizer: LanguageTokenizer) -> np.ndarray:
    """With eos at the end, once."""
    eos = tokenizer.eos
    if eos is None:
        raise InputError("the tokenizer has no eos token, with which texts end")
    tokens = np.asarray(tokens, np.int32)
    if len(tokens) and tokens[-1] == eos:
        return tokens
    return np.append(tokens, np.int32(eos))


def _roles(messages: Messages) -> str:
    return ", ".join(str(message["role"]) for message in messages)


def tokenizer_identity(tokenizer: Any) -> Mapping[str, Any] | None:
    """Plain JSON that changes with the ids it gives, as far as it says so."""
    return getattr(tokenizer, "identity", None)

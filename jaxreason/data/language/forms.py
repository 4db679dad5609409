"""The forms records are written in: named values of a row to a record of its kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.messages import (
    check_answer,
    check_prompt,
    messages_of,
    plain_text,
    shared_messages,
    shared_text,
    text_of,
    turns_of,
    with_suffix,
    with_system,
)
from jaxreason.data.language.pictures import image_of
from jaxreason.data.language.records import (
    ChatRecord,
    ImageTextRecord,
    LabelledRecord,
    Messages,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
)
from jaxreason.errors import InputError
from jaxreason.paths import as_path


class Given(NamedTuple):
    """What a row gives.

    Attributes:
        values: our name of a column to its value.
        rest: the other columns under the data's names.
        where: for messages.
    """

    values: Mapping[str, Any]
    rest: Mapping[str, Any]
    where: str

    def text(self, column: str) -> str:
        """A column that must be text."""
        return text_of(self.values[column], column, self.where)

    def question(self) -> str:
        """Which of the columns that ask is there."""
        return next(name for name in ("prompt", "question", "problem") if name in self.values)


def _framed(messages: Messages, given: Given, config: DataConfig) -> Messages:
    """With the row's or the configuration's system message, and the suffix."""
    if given.values.get("system"):
        messages = with_system(messages, given.text("system"))
    return with_suffix(with_system(messages, config.system), config.suffix)


def text(given: Given, config: DataConfig) -> TextRecord:
    """`text`."""
    return TextRecord(given.text("text"), given.where)


def _chat(messages: Messages, given: Given, config: DataConfig) -> ChatRecord:
    if all(message["role"] != "assistant" for message in messages):
        raise InputError(f"{given.where}: no turn of the assistant to learn from")
    return ChatRecord(_framed(messages, given, config), given.where)


def conversation(given: Given, config: DataConfig) -> ChatRecord:
    """`messages`, or ShareGPT's `conversations`."""
    column = "messages" if "messages" in given.values else "conversations"
    return _chat(messages_of(given.values[column], column, given.where), given, config)


def answered(given: Given, config: DataConfig) -> ChatRecord:
    """A prompt and its completion, as texts or messages."""
    asked = given.question()
    answer = next(
        name for name in ("completion", "response", "answer", "solution") if name in given.values
    )
    prompt = turns_of(given.values[asked], "user", asked, given.where)
    completion = turns_of(given.values[answer], "assistant", answer, given.where)
    check_prompt(prompt, given.where)
    check_answer(completion, answer, given.where)
    return _chat((*prompt, *completion), given, config)


def instruction(given: Given, config: DataConfig) -> ChatRecord:
    """Alpaca's `instruction`, `input` ("" for none) and `output`."""
    asked = given.text("instruction")
    if given.values.get("input"):
        asked = f"{asked}\n\n{given.text('input')}"
    turns = (
        {"role": "user", "content": asked},
        {"role": "assistant", "content": given.text("output")},
    )
    return _chat(turns, given, config)


def preference(given: Given, config: DataConfig) -> PreferenceRecord:
    """`chosen` and `rejected` with a prompt, or with one they have in common."""
    values, where = given.values, given.where
    halves = values["chosen"], values["rejected"]
    if isinstance(halves[0], str) != isinstance(halves[1], str):
        raise InputError(f"{where}: of chosen and rejected one is text, the other is not")
    asked = next((name for name in ("prompt", "question") if name in values), None)
    prompt = () if asked is None else turns_of(values[asked], "user", asked, where)
    if isinstance(halves[0], str) and not prompt:
        shared = shared_text(*halves)
        if not shared:
            raise InputError(f"{where}: no prompt, and chosen and rejected begin differently")
        prompt = ({"role": "user", "content": halves[0][:shared]},)
        halves = halves[0][shared:], halves[1][shared:]
    chosen = turns_of(halves[0], "assistant", "chosen", where)
    rejected = turns_of(halves[1], "assistant", "rejected", where)
    if chosen[0]["role"] != "assistant" or not prompt:
        prompt, chosen, rejected = _apart(prompt, chosen, rejected, where)
    check_prompt(prompt, where)
    check_answer(chosen, "chosen", where)
    check_answer(rejected, "rejected", where)
    return PreferenceRecord(_framed(prompt, given, config), chosen, rejected, where)


def _apart(
    prompt: Messages, chosen: Messages, rejected: Messages, where: str
) -> tuple[Messages, Messages, Messages]:
    """Conversations that both begin with the prompt, as UltraFeedback's."""
    shared = shared_messages(chosen, rejected)
    if not shared:
        raise InputError(f"{where}: chosen and rejected have no prompt in common")
    before = chosen[:shared]
    asked = plain_text(prompt[-1:]).strip()
    if asked and all(plain_text([message]).strip() != asked for message in before):
        raise InputError(
            f"{where}: chosen and rejected begin with another prompt than the column prompt"
        )
    return before, chosen[shared:], rejected[shared:]


def labelled(given: Given, config: DataConfig) -> LabelledRecord:
    """A prompt, a completion and whether it is good."""
    values, where = given.values, given.where
    label = values["label"]
    if not isinstance(label, bool) and label not in (0, 1):
        raise InputError(f"{where}: label is {label!r}; expected true or false")
    if "messages" in values:
        messages = messages_of(values["messages"], "messages", where)
        if len(messages) < 2:
            raise InputError(f"{where}: messages has a single message; expected a prompt before it")
        prompt, completion = messages[:-1], messages[-1:]
    else:
        prompt = turns_of(values["prompt"], "user", "prompt", where)
        completion = turns_of(values["completion"], "assistant", "completion", where)
    check_prompt(prompt, where)
    check_answer(completion, "completion", where)
    return LabelledRecord(_framed(prompt, given, config), completion, bool(label), where)


def question(given: Given, config: DataConfig) -> PromptRecord:
    """What is asked and the right answer."""
    asked, data = given.question(), dict(given.rest)
    messages = turns_of(given.values[asked], "user", asked, given.where)
    check_prompt(messages, given.where)
    answer = given.values.get("answer", "")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    answer = text_of(answer, "answer", given.where)
    if config.answer_mark:
        reasoning, found, last = answer.rpartition(config.answer_mark)
        if not found:
            raise InputError(f"{given.where}: answer has no {config.answer_mark!r} before its end")
        data["solution"], answer = reasoning.strip(), last.strip()
    return PromptRecord(_framed(messages, given, config), answer, data, given.where)


def _image(given: Given, config: DataConfig) -> Path | bytes | None:
    folder = config.images or _folder(config)
    return image_of(given.values.get("image"), folder, given.where)


def _folder(config: DataConfig) -> str:
    if not config.path or "*" in config.path:
        return str(as_path(config.path).parent) if config.path else ""
    path = as_path(config.path)
    return str(path if path.is_dir() else path.parent)


def pictured(given: Given, config: DataConfig) -> ImageTextRecord:
    """A conversation about a picture (LLaVA's instruction data), or about none."""
    column = "messages" if "messages" in given.values else "conversations"
    messages = messages_of(given.values[column], column, given.where)
    return ImageTextRecord(
        _image(given, config),
        _framed(messages, given, config),
        data=given.rest,
        where=given.where,
    )


def pictured_question(given: Given, config: DataConfig) -> ImageTextRecord:
    """A question about a picture and its answer."""
    asked = "question" if "question" in given.values else "problem"
    answer = given.values.get("answer", given.values.get("solution"))
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    messages = (
        {"role": "user", "content": f"<image>\n{given.text(asked)}"},
        {"role": "assistant", "content": text_of(answer, "answer", given.where)},
    )
    return ImageTextRecord(
        _image(given, config),
        _framed(messages, given, config),
        data=given.rest,
        where=given.where,
    )


def captioned(given: Given, config: DataConfig) -> ImageTextRecord:
    """A picture and its description."""
    column = "caption" if "caption" in given.values else "text"
    return ImageTextRecord(
        _image(given, config), caption=given.text(column), data=given.rest, where=given.where
    )

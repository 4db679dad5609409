"""Chat templates in Jinja, rendered as Hugging Face transformers renders them.

What differs on purpose: `strftime_now` gives the time that one asks for and not the clock's, so
that a run can be repeated; a rendering may take `template_process.SECONDS` of processor time,
`template_process.MEMORY` bytes and `LONGEST` characters. Templates run in another process
(`template_worker`), which knows nothing but them and the data that they are given.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.template_process import PROCESS, TemplateProcess

Message = Mapping[str, Any]
"""`role`, `content` (a text, or a list of parts) and what else a template knows."""

DATE = datetime.datetime(2024, 7, 26)
"""What `strftime_now` gives unless told otherwise: the day that Llama 3's templates fall back on
where there is no clock."""

LONGEST = 1 << 24
"""Characters of a template, and of what it may render."""

_REASONING = ("reasoning_content", "thinking", "reasoning")
_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Rendered(NamedTuple):
    """A rendered conversation.

    Attributes:
        text: all of it.
        spans: (start, end) in characters of what stood inside `{% generation %}`.
    """

    text: str
    spans: tuple[tuple[int, int], ...]


class JinjaTemplate:
    """A chat template.

    Args:
        source: the template.
        name: what errors call it.
        date: what `strftime_now` gives.
        process: what renders; all templates share one unless told otherwise.

    Attributes:
        marked: it says by `{% generation %}` what the model is to learn.

    Raises:
        FailureError: longer than `LONGEST` characters.
    """

    def __init__(
        self,
        source: str,
        name: str = "chat template",
        date: datetime.datetime = DATE,
        process: TemplateProcess = PROCESS,
    ) -> None:
        if len(source) > LONGEST:
            raise FailureError(
                f"{name} has {len(source)} characters; expected at most {LONGEST}, as no chat "
                "template needs more"
            )
        self.source, self.name, self.date = source, name, date
        self.marked = _MARKS.search(source) is not None
        self._process = process

    def render(
        self,
        messages: Sequence[Message],
        *,
        prompt: bool = False,
        continue_last: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> Rendered:
        """The text of a conversation.

        Args:
            messages: in order; fields that are None count as missing, and what is no plain data
                (a picture, an array) is `<its type>` to the template.
            prompt: whether the beginning of the assistant's answer follows
                (`add_generation_prompt`).
            continue_last: whether the text ends with the last message's content, to be continued.
            tools: JSON schemas of functions.
            documents: for templates that know them.
            variables: what the template may use besides.

        Raises:
            InputError: no messages, messages that are no mappings or no plain data, what the
                template itself refuses.
            FailureError: the template has a syntax error, or takes too long or too much.
        """
        if prompt and continue_last:
            raise InputError("prompt and continue_last are both set; expected at most one of them")
        chat = [self._message(message) for message in _listed(messages, "messages")]
        if not chat:
            raise InputError("there are no messages; expected at least one")
        last = self._open_last(chat) if continue_last else None
        given = {
            "messages": chat,
            "tools": _plain(tools),
            "documents": _plain(documents),
            "add_generation_prompt": prompt,
            **{name: _plain(value) for name, value in variables.items()},
        }
        rendered = self._ask(given)
        if last is None:
            return rendered
        return rendered._replace(text=_continued(rendered.text, last, self.name))

    def _message(self, message: Message) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise InputError(f"message {message!r:.100} is no mapping of role and content")
        plain = {key: value for key, value in _plain(message).items() if value is not None}
        said = [plain[name] for name in _REASONING if name in plain]
        return {"thinking": said[0], **plain, "reasoning_content": said[0]} if said else plain

    def _open_last(self, chat: list[dict[str, Any]]) -> str:
        """Puts a tag after the last message's text, and returns that text."""
        content = chat[-1].get("content")
        if isinstance(content, str):
            chat[-1]["content"] = content + _TAG
            return content
        for part in reversed(content if isinstance(content, list) else []):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                said: str = part["text"]
                part["text"] = said + _TAG
                return said
        raise InputError(f"the last message {chat[-1]!r:.100} has no text to continue")

    def _ask(self, variables: dict[str, Any]) -> Rendered:
        request = {
            "source": self.source,
            "variables": variables,
            "date": self.date.isoformat(),
            "limit": LONGEST,
        }
        answer = self._process.ask(request)
        reasons = {
            "syntax": f"is not valid Jinja: {answer.error[:300]}",
            "long": f"renders more than {LONGEST} characters",
            "memory": f"needs more than {self._process.memory >> 20} MiB",
            "time": f"takes more than {self._process.seconds:g} s",
        }
        if answer.kind in reasons:
            raise FailureError(f"{self.name} {reasons[answer.kind]}")
        if answer.kind:
            raise InputError(f"{self.name} refuses the messages: {answer.error[:300]}")
        return Rendered(answer.text, tuple((start, end) for start, end in answer.spans))


def _continued(text: str, last: str, name: str) -> str:
    if last.strip() not in text or _TAG.strip() not in text:
        raise InputError(f"{name} does not keep the text of the last message {last!r:.100}")
    place = text.rindex(_TAG.strip())
    kept = text[place : place + len(_TAG)] == _TAG
    return text[:place] if kept else text[:place].rstrip()


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InputError(f"{name} is a {type(value).__name__}; expected a list")
    return list(value)


def _plain(value: Any) -> Any:
    """The value made of JSON's types alone, anything else replaced by `<its type>`."""
    try:
        return _plain_value(value)
    except RecursionError as error:
        raise InputError("the messages are nested too deeply, or contain themselves") from error


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"a message has the key {key!r:.100}; expected texts as keys")
        return {str.__str__(key): _plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, np.generic):
        return _plain_value(value.item())
    return f"<{type(value).__name__}>"

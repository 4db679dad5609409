"""The tokenizer of a Hugging Face folder: text and conversations to ids and back."""

import datetime
import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.tokens import tokenizer_files as files
from jaxreason.tokens.chat_template import DATE, JinjaTemplate, Message, Rendered
from jaxreason.tokens.training_chat import TrainingChat, encode_training_chat, turn_ends


class PretrainedTokenizer:
    """`tokenizer.json` with what the files beside it say (extra `hf`).

    Ids are those of `tokenizer.json`; no code of the folder is run, and no file outside of it read.

    Args:
        folder: with tokenizer.json and, as far as there are any, tokenizer_config.json,
            special_tokens_map.json, chat_template.jinja, additional_chat_templates/ and
            generation_config.json.
        date: what templates are told is now; see `chat_template.DATE`.

    Attributes:
        size: number of ids, added tokens included. A model may have more.
        special: the named special tokens as texts, such as `bos_token`; templates see them.
        bos, eos: their ids, None if the tokenizer has none.
        stops: every id that ends a generation as the files say: eos, and those of
            generation_config.json. Base models with a chat template often lack the one that ends
            a turn; see `chat_stops`.
        templates: the chat templates by name.

    Raises:
        InputError: the extra is not installed.
        FailureError: no tokenizer.json; a file that is not what its name says.
    """

    def __init__(self, folder: str | Path, date: datetime.datetime = DATE) -> None:
        self.folder = as_path(folder)
        self._tokenizer, self._content = _load(self.folder)
        settings = files.read_settings(self.folder)
        self.special = settings.special
        _add_tokens(self._tokenizer, settings, self.folder)
        self.size = int(self._tokenizer.get_vocab_size())
        self.bos, self.eos = self._named("bos_token"), self._named("eos_token")
        first = () if self.eos is None else (self.eos,)
        self.stops = tuple(dict.fromkeys((*first, *settings.stops)))
        self.date = date
        self.templates = {
            name: JinjaTemplate(source, f"chat template {name!r} of {str(folder)!r}", date)
            for name, source in settings.templates.items()
        }

    @property
    def pad(self) -> int:
        """The id for places that nobody reads: that of the pad token, else unk, else eos.

        Raises:
            InputError: the tokenizer has none of them.
        """
        for name in ("pad_token", "unk_token", "eos_token"):
            found = self._named(name)
            if found is not None:
                return found
        raise InputError(f"the tokenizer of {str(self.folder)!r} has no pad, unk or eos token")

    @cached_property
    def chat_stops(self) -> tuple[int, ...]:
        """Every id that ends an answer in a conversation: `stops`, and the special tokens that the
        chat template writes right after an answer.
        """
        ends = turn_ends(self) if "default" in self.templates else ()
        return tuple(dict.fromkeys((*self.stops, *ends)))

    def stops_for(self, template: str) -> tuple[int, ...]:
        """`chat_stops` for "chat", `stops` for anything else."""
        return self.chat_stops if template == "chat" else self.stops

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Size, date and hashes; differs where ids or rendered texts may differ."""
        parts = {
            "tokenizer": self._content,
            "templates": repr(sorted((n, t.source) for n, t in self.templates.items())).encode(),
            "special": repr((sorted(self.special.items()), self.stops)).encode(),
        }
        hashes = {name: hashlib.sha256(part).hexdigest()[:16] for name, part in parts.items()}
        return {"size": self.size, "date": self.date.isoformat(), **hashes}

    def files(self) -> dict[str, Path]:
        """The files that make up the tokenizer, by their names in the folder."""
        return files.present(self.folder)

    def id(self, token: str) -> int:
        """The id of one token; InputError if there is none."""
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"token {token!r} is not in the tokenizer of {str(self.folder)!r}")
        return int(number)

    def is_special(self, number: int) -> bool:
        """Whether an id is that of a special token, which `decode` leaves out."""
        token = self._tokenizer.get_added_tokens_decoder().get(number)
        return token is not None and bool(token.special)

    def encode(self, text: str, special: bool = False) -> np.ndarray:
        """Ids of a text, int32 [n]; special tokens that it spells are single ids.

        Args:
            text: any text without lone surrogates.
            special: whether bos and eos are put around it where tokenizer.json says so.
        """
        return np.array(self.encoding(text, special).ids, np.int32)

    def encoding(self, text: str, special: bool = False) -> Any:
        """The `tokenizers.Encoding` of a text, which knows each token's characters."""
        if not isinstance(text, str):
            raise InputError(f"text {text!r:.100} is a {type(text).__name__}; expected a str")
        try:
            return self._tokenizer.encode(text, add_special_tokens=special)
        except (UnicodeEncodeError, TypeError) as error:
            raise InputError(f"text {text!r:.100} has a lone surrogate: {error}") from error
        except BaseException as error:
            raise _failure(
                error, f"the tokenizer of {str(self.folder)!r} fails on a text"
            ) from error

    def decode(self, ids: Sequence[int] | np.ndarray, skip_special: bool = True) -> str:
        """The text of ids; those that the tokenizer does not have give nothing.

        Raises:
            InputError: negative ids, or no list of whole numbers.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
            raise InputError(f"ids are {array.dtype} {array.shape}; expected whole numbers [n]")
        if array.size and array.min() < 0:
            raise InputError(f"ids has {array.min()}; expected numbers of at least 0")
        return self._tokenizer.decode(array.tolist(), skip_special_tokens=skip_special)

    def rendered(
        self, messages: Sequence[Message], template: str | None = None, **options: Any
    ) -> Rendered:
        """Text and spans of a conversation.

        Args:
            messages: see `JinjaTemplate.render`.
            template: its name; None: "tool_use" if there are tools, else "default".
            options: of `JinjaTemplate.render`.

        Raises:
            InputError: the tokenizer has no such template; as `JinjaTemplate.render`.
        """
        names = [template] if template is not None else ["default"]
        if template is None and options.get("tools") is not None:
            names = ["tool_use", "default"]
        for name in names:
            if name in self.templates:
                return self.templates[name].render(messages, **{**self.special, **options})
        known = ", ".join(sorted(self.templates)) or "none"
        raise InputError(
            f"the tokenizer of {str(self.folder)!r} has no chat template {names[-1]!r} (it has: "
            f"{known}); give the folder a chat_template.jinja, or use a chat model"
        )

    def render(self, messages: Sequence[Message], prompt: bool = False, **variables: Any) -> str:
        """The text of a conversation; see `rendered`.

        Args:
            messages: `{"role": ..., "content": ...}` each.
            prompt: whether the beginning of the assistant's answer follows.
            variables: tools, continue_last, template, and what the template knows besides.
        """
        return self.rendered(messages, prompt=prompt, **variables).text

    def encode_chat(
        self, messages: Sequence[Message], prompt: bool = False, **variables: Any
    ) -> np.ndarray:
        """Ids of the rendered conversation, int32 [n]; nothing is put around it."""
        return self.encode(self.render(messages, prompt, **variables))

    def encode_training_chat(
        self, messages: Sequence[Message], learn: str = "all", **variables: Any
    ) -> TrainingChat:
        """Ids of a conversation and which of them the model must learn.

        Args:
            messages: ending with the assistant's, as a rule.
            learn: "all" of the assistant's messages, or its "last".
            variables: as for `render`.

        Returns:
            tokens int32 [n], assistant bool [n]; see `training_chat.encode_training_chat`.
        """
        return encode_training_chat(self, messages, learn, variables)

    def _named(self, name: str) -> int | None:
        token = self.special.get(name)
        return None if token is None else self._tokenizer.token_to_id(token)


def _failure(error: BaseException, what: str) -> BaseException:
    """The library's panics are BaseExceptions; what really ends the program stays what it is."""
    if isinstance(error, Exception) or type(error).__name__ == "PanicException":
        return FailureError(f"{what}: {str(error)[:300]}")
    return error


def _load(folder: Path) -> tuple[Any, bytes]:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(
            f"the tokenizer of {str(folder)!r} needs the library tokenizers; install it with "
            "`pip install 'jaxreason[hf]'`"
        ) from error
    path = folder / files.TOKENIZER
    if not path.exists():
        raise FailureError(
            f"{str(folder)!r} has no tokenizer.json; with transformers, "
            "`AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` makes one from older "
            "files"
        )
    content = files.read_bytes(path, files.LARGEST)
    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        largest = max(tokenizer.get_vocab().values(), default=0)
        parts = [part.__getstate__() for part in (tokenizer.normalizer, tokenizer.decoder) if part]
    except BaseException as error:
        raise _failure(error, f"{str(path)!r} is no tokenizer file") from error
    for part in parts:
        files.check_growth(part, path)
    if largest >= 2**31:
        raise FailureError(f"{str(path)!r} has the id {largest}; expected ids below 2^31")
    return tokenizer, content


def _add_tokens(tokenizer: Any, settings: files.TokenizerSettings, folder: Path) -> None:
    """Adds what tokenizer.json lacks, in transformers' order, and marks special tokens as such."""
    from tokenizers import AddedToken

    there = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for entry in settings.added:
        if entry.content not in there:
            tokenizer.add_tokens([AddedToken(entry.content, **entry.options)])
        found = tokenizer.token_to_id(entry.content)
        if found != entry.id:
            raise FailureError(
                f"token {entry.content!r} has the id {found} in {files.TOKENIZER} and {entry.id} "
                f"in {files.CONFIG} of {str(folder)!r}; expected the same"
            )
    named = [*settings.special.values(), *settings.extra]
    known = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
    for content in dict.fromkeys(named):
        token = known.get(content) or AddedToken(content, normalized=False)
        token.special = True
        tokenizer.add_special_tokens([token])
    tokenizer.encode_special_tokens = settings.split_special

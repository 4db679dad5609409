"""Records as examples of the training pipeline, and prompts to sample from."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.data.language.encoding import (
    LEARN,
    Encoded,
    LanguageTokenizer,
    check_template,
    encode_prompt,
    encode_record,
    tokenizer_identity,
)
from jaxreason.data.language.records import PromptRecord
from jaxreason.data.sources import CACHE_BYTES
from jaxreason.errors import InputError

PROMPT_OVERFLOWS = ("error", "drop", "truncate_left")


def language_source(
    records: Any,
    tokenizer: LanguageTokenizer,
    *,
    template: str = "chat",
    learn: str = "all",
    cache_bytes: int = CACHE_BYTES,
) -> "LanguageSource":
    """Texts and conversations for `training_batches`, which packs, shuffles and shares them out.

    What is longer than a row is up to `BatchConfig.overflow`; `loss_on` "completion" learns what
    `learn` says, "all" everything.

    Args:
        records: of kind "text" or "chat", see `read_records`; those of a mixture are counted by
            data set.
        tokenizer: of the model.
        template: "chat" lays turns out as the tokenizer's chat template does; "plain" writes prompt
            and answer one after the other, and eos, for models without a template.
        learn: "all" turns of the assistant, or the "last".
        cache_bytes: bound on the memory for encoded examples.

    Raises:
        InputError: no such template or `learn`.
    """
    check_template(template)
    if learn not in LEARN:
        raise InputError(f"learn is {learn!r}; expected one of {', '.join(LEARN)}")
    return LanguageSource(records, tokenizer, template, learn, cache_bytes)


class LanguageSource:
    """What `language_source` returns.

    Attributes:
        records: the records.
        vocabulary: the tokenizer.
        identity: what a saved data position must agree with.
    """

    def __init__(
        self,
        records: Any,
        tokenizer: LanguageTokenizer,
        template: str,
        learn: str,
        cache_bytes: int,
    ) -> None:
        self.records, self.vocabulary = records, tokenizer
        self._template, self._learn = template, learn
        self._known: dict[int, Encoded] = {}
        self._room = cache_bytes
        self.identity = {
            "records": getattr(records, "identity", None),
            "tokenizer": tokenizer_identity(tokenizer),
            "template": template,
            "learn": learn,
        }

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`tokens` int32 [n], `targets_mask` bool [n], `index`; of a mixture `part`, a name."""
        index = int(index)
        encoded = self._known.get(index)
        if encoded is None:
            record = self.records[index]
            encoded = encode_record(record, self.vocabulary, self._template, self._learn)
            size = encoded.tokens.nbytes + encoded.targets_mask.nbytes
            # An epoch visits every example once, so evicting to make room would gain nothing.
            if size <= self._room:
                self._room -= size
                self._known[index] = encoded
        example = {**encoded._asdict(), "index": index}
        part = getattr(self.records, "part", None)
        return example if part is None else {**example, "part": part(index)}


def prompt_source(
    records: Sequence[PromptRecord],
    tokenizer: LanguageTokenizer,
    length: int,
    *,
    template: str = "chat",
    overflow: str = "error",
) -> "PromptSource":
    """Prompts for reinforcement learning, each encoded once, when the source is made.

    Args:
        records: of kind "prompts".
        tokenizer: of the model.
        length: most tokens of a prompt.
        template: see `language_source`.
        overflow: what to do about longer ones: "error", "drop" or "truncate_left" (both counted).

    Raises:
        InputError: a prompt that is too long or that the template refuses; names file and line.
    """
    check_template(template)
    if overflow not in PROMPT_OVERFLOWS:
        raise InputError(f"overflow is {overflow!r}; expected one of {', '.join(PROMPT_OVERFLOWS)}")
    return PromptSource(records, tokenizer, length, template, overflow)


class PromptSource:
    """What `prompt_source` returns: `[i]`, `problem(i)` and `vocabulary`, as rollouts want them.

    Attributes:
        vocabulary: the tokenizer.
        dropped, truncated: prompts left out, and cut, for being too long.
        longest: tokens of the longest prompt.
        identity: what a run that goes on must agree with.
    """

    def __init__(
        self,
        records: Sequence[PromptRecord],
        tokenizer: LanguageTokenizer,
        length: int,
        template: str,
        overflow: str,
    ) -> None:
        self.vocabulary = tokenizer
        self.dropped = self.truncated = 0
        self._records, self._ids = records, dict[int, np.ndarray]()
        for place, record in enumerate(records):
            if not isinstance(record, PromptRecord):
                raise InputError(
                    f"{record.where}: {type(record).__name__}; expected kind 'prompts'"
                )
            ids = encode_prompt(record.messages, tokenizer, template, record.where)
            if len(ids) > length:
                if overflow == "error":
                    raise InputError(
                        f"{record.where}: the prompt has {len(ids)} tokens, but length is {length};"
                        " raise length, or set overflow to 'drop' or 'truncate_left'"
                    )
                self.dropped += overflow == "drop"
                self.truncated += overflow == "truncate_left"
                if overflow == "drop":
                    continue
                ids = ids[-length:]
            self._ids[place] = ids
        self._places = list(self._ids)
        if not self._places:
            raise InputError(f"none of the {len(records)} prompts fits into length {length}")
        self.longest = max(len(ids) for ids in self._ids.values())
        self.identity = {
            "records": getattr(records, "identity", None),
            "tokenizer": tokenizer_identity(tokenizer),
            "template": template,
            "length": length,
            "overflow": overflow,
        }

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`tokens` int32 [n], all of them prompt (`prompt_length` n), and `index`."""
        ids = self._ids[self._places[index]]
        return {"tokens": ids, "prompt_length": len(ids), "index": int(index)}

    def problem(self, index: int) -> PromptRecord:
        """The record of a prompt."""
        return self._records[self._places[index]]

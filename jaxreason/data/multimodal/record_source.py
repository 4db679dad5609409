"""Records as training rows: chat template, tokens, pictures."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from jaxreason.data.multimodal.fitting import FITS, pixels_of
from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.data.sources import CACHE_BYTES
from jaxreason.errors import InputError
from jaxreason.tokens import layouts
from jaxreason.tokens.chat import (
    IMAGE_INSTRUCTION,
    REASONING_INSTRUCTION,
    ChatTemplate,
    Turn,
    format_reasoning,
)
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.tokens.layouts import TASKS, LayoutConfig, LayoutRow
from jaxreason.tokens.text_tokenizer import TextTokenizer

OVERFLOWS = ("error", "truncate", "drop")
PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class RecordText:
    """How records become text.

    Attributes:
        template: of the turns.
        reasoning_instruction: before a question whose answer carries reasoning.
        image_instruction: before a description of which a picture is made after reasoning.
        think_joiner: between the tags of the reasoning and what stands around them.
    """

    template: ChatTemplate = field(default_factory=ChatTemplate)
    reasoning_instruction: str = REASONING_INSTRUCTION
    image_instruction: str = IMAGE_INSTRUCTION
    think_joiner: str = " "

    def of(self, record: TaskRecord, prompt: bool = False) -> str:
        """The text of a row, or what comes before its answer."""
        if record.task == "lm":
            return record.text
        if record.task == "t2i":
            return record.question
        question = record.question
        if record.task == "r2i":
            question = self.image_instruction + question
        elif record.reasoning is not None:
            question = self.reasoning_instruction + question
        turns = [*record.before, Turn("user", question)]
        if not prompt:
            answer = format_reasoning(record.reasoning, record.answer, self.think_joiner)
            turns.append(Turn("assistant", answer))
        return self.template.render(turns, prompt=prompt)


class RecordSource:
    """Rows of records for `mixed_batches`; the tasks are those of the layouts.

    All texts are measured and all pictures encoded when the source is made.

    Args:
        records: of one or several tasks.
        tokenizer: anything with `encode(text) -> ids`; its `identity`, if it has one, becomes part
            of the source's.
        layout: sizes and ids; its own `overflow` is not used.
        codec: for pictures that are not given as codes.
        text: templates and instructions.
        overflow: what to do about texts that are too long: "error", "truncate" (see
            `LayoutConfig`), or "drop", which leaves those records out and counts them.
        pictures: how pictures are brought to the codec's size: see `fitting.pixels_of`.
        on_record: called with (records done, records in all).

    Attributes:
        tasks: each task that occurs to its layout, its own name.
        dropped: records left out.

    Raises:
        InputError: no record, a text that overflows, a picture of another size, codes of another
            number or range, or a picture without a codec; names file and line.
        FailureError: an image file cannot be read.
    """

    def __init__(
        self,
        records: Sequence[TaskRecord],
        tokenizer: TextTokenizer,
        layout: LayoutConfig,
        *,
        codec: ImageCodec | None = None,
        text: RecordText | None = None,
        overflow: str = "error",
        pictures: str = "exact",
        on_record: Callable[[int, int], None] | None = None,
    ) -> None:
        if overflow not in OVERFLOWS:
            raise InputError(f"overflow is {overflow!r}; expected one of {', '.join(OVERFLOWS)}")
        if pictures not in FITS:
            raise InputError(f"pictures is {pictures!r}; expected one of {', '.join(FITS)}")
        self._pictures = pictures
        cut = "truncate" if overflow == "truncate" else "error"
        self.layout = replace(layout, overflow=cut)
        self.text = text or RecordText()
        self.overflow, self.dropped = overflow, 0
        self._tokenizer, self._codec = tokenizer, codec
        if codec is not None and codec.tokens != layout.image_tokens:
            raise InputError(
                f"image_tokens is {layout.image_tokens}, but the codec makes {codec.tokens} codes "
                "of a picture"
            )
        self._records = records
        self._codes: dict[int, np.ndarray] = {}
        self._places: dict[str, list[int]] = {}
        self._known: dict[int, np.ndarray] = {}  # ids of the text of record i
        self._room = CACHE_BYTES
        self._content = hashlib.sha256()
        waiting: list[tuple[int, TaskRecord]] = []
        for place, record in enumerate(records):
            if self._keep(place, record):
                waiting += [(place, record)] if record.image is not None else []
            if len(waiting) == PICTURES_AT_ONCE:
                self._encode(waiting)
                waiting = []
            if on_record is not None:
                on_record(place + 1, len(records))
        self._encode(waiting)
        if not self._places:
            raise InputError(f"there is no record left of {len(records)}; expected at least one")
        self.tasks: Mapping[str, str] = {task: task for task in TASKS if task in self._places}
        self.identity = {
            "records": self._content.hexdigest()[:16],
            "text": asdict(self.text),
            "overflow": overflow,
            "text_length": layout.text_length,
            "image_tokens": layout.image_tokens,
            "ids": layout.ids.identity,
            "tokenizer": getattr(tokenizer, "identity", None),
            "codec": None if codec is None else dict(codec.identity),
        }

    def count(self, task: str) -> int:
        """Records of a task."""
        return len(self._places[task])

    def record(self, index: int, task: str) -> TaskRecord:
        """Record `index` of a task."""
        return self._records[self._places[task][index]]

    def row(self, index: int, task: str, drop_text: bool = False) -> LayoutRow:
        """Its training row; `drop_text` empties the description of a t2i row."""
        record, place = self.record(index, task), self._places[task][index]
        ids = self._known.get(place)
        ids = self._ids(record) if ids is None else ids
        return self._lay_out(record, ids, self._picture(index, task), drop_text)

    def prompt(self, index: int, task: str) -> Any:
        """What a sampler gets: for t2i the dict of `layouts.t2i_inference`, else ids int32 [n].

        Raises:
            InputError: task lm, whose texts have no prompt.
        """
        if task == "lm":
            raise InputError("task 'lm' has no prompt; its texts are not taken apart")
        record = self.record(index, task)
        ids = np.asarray(self._tokenizer.encode(self.text.of(record, prompt=True)), np.int32)
        if task == "t2i":
            return layouts.t2i_inference(self.layout, ids)
        if task == "mmu":
            return layouts.mmu_inference(self.layout, ids, self._picture(index, task))
        if task == "r2i":
            return layouts.r2i_inference(self.layout, ids)
        return layouts.lm_inference(self.layout, ids)

    def _keep(self, place: int, record: TaskRecord) -> bool:
        """Whether a record is used; checks its text, and its codes if it has them."""
        if record.image is not None and self._codec is None:
            raise InputError(f"{record.where}: image is given, but no codec to encode it with")
        nothing = np.zeros(self.layout.image_tokens, np.int32)
        codes = nothing if record.codes is None else record.codes
        try:
            ids = self._ids(record)
            if self.overflow == "drop" and not self._fits(record.task, len(ids)):
                self.dropped += 1
                return False
            self._lay_out(record, ids, codes)
        except InputError as error:
            raise InputError(f"{record.where}: {error}") from error
        for part in (record.task.encode(), ids.tobytes(), codes.tobytes()):
            self._content.update(part)
        if ids.nbytes <= self._room:
            self._room -= ids.nbytes
            self._known[place] = ids
        self._places.setdefault(record.task, []).append(place)
        return True

    def _fits(self, task: str, words: int) -> bool:
        ends = 2  # bos and eos
        in_text = task in ("mmu", "r2i", "t2i")
        return words + ends <= (self.layout.text_length if in_text else self.layout.length)

    def _ids(self, record: TaskRecord) -> np.ndarray:
        ids = np.asarray(self._tokenizer.encode(self.text.of(record)), np.int32)
        bos = self.layout.ids.bos
        return ids[1:] if ids.size and ids[0] == bos else ids

    def _lay_out(
        self, record: TaskRecord, ids: np.ndarray, codes: np.ndarray, drop_text: bool = False
    ) -> LayoutRow:
        if record.task == "lm":
            return layouts.lm(self.layout, ids)
        if record.task == "lm_chat":
            return layouts.lm_chat(self.layout, ids)
        if record.task == "t2i":
            return layouts.t2i(self.layout, ids, codes, drop_text)
        return (layouts.mmu if record.task == "mmu" else layouts.r2i)(self.layout, ids, codes)

    def _picture(self, index: int, task: str) -> np.ndarray:
        place = self._places[task][index]
        known = self._codes.get(place)
        if known is not None:
            return known
        codes = self._records[place].codes
        return np.zeros(0, np.int32) if codes is None else codes

    def _encode(self, waiting: Sequence[tuple[int, TaskRecord]]) -> None:
        if not waiting or self._codec is None:
            return
        images = [pixels_of(record, self._codec.picture, self._pictures) for _, record in waiting]
        codes = np.asarray(self._codec.encode(np.stack(images)))
        self._content.update(codes.tobytes())
        self._codes |= {place: row for (place, _), row in zip(waiting, codes, strict=True)}

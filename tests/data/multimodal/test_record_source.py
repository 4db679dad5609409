"""Rows made of records: what they say, what is refused, what is left out."""

import dataclasses
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from jaxreason.data.multimodal.mixing import mixed_batches
from jaxreason.data.multimodal.record_source import RecordSource, RecordText
from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.chat import IMAGE_INSTRUCTION, REASONING_INSTRUCTION, ChatTemplate
from jaxreason.tokens.image_codec import PaletteCodec
from jaxreason.tokens.layouts import LayoutConfig
from jaxreason.tokens.multimodal_vocabulary import mmada_ids

IDS = mmada_ids()
SPECIALS = {
    "<|start_header_id|>": IDS.start_header,
    "<|end_header_id|>": IDS.end_header,
    "<|eot_id|>": IDS.end_of_turn,
}
LAYOUT = LayoutConfig(400, 4, IDS)
CODEC = PaletteCodec(2, 2, cell_pixels=1)
CODES = np.array([1, 2, 3, 0])


class Letters:
    """One id per letter; special tokens where the text spells them."""

    identity = "letters"

    def encode(self, text):
        ids = []
        while text:
            token = next((token for token in SPECIALS if text.startswith(token)), text[0])
            ids.append(SPECIALS.get(token) or ord(token))
            text = text[len(token) :]
        return ids


def decode(tokens):
    names = {number: token for token, number in SPECIALS.items()}
    names |= {IDS.bos: "<bos>", IDS.eos: "", IDS.soi: "<soi>", IDS.eoi: "<eoi>"}
    names |= {IDS.t2i: "<t2i>", IDS.mmu: "<mmu>", IDS.r2i: "<r2i>", IDS.image_pad: ""}
    return "".join(names[i] if i in names else chr(i) for i in tokens.tolist())


CHAT = TaskRecord("a, line 1", "lm_chat", question="2+2?", reasoning="count", answer="4")
PLAIN = TaskRecord("a, line 2", "lm_chat", question="hi", answer="hello")
TEXT = TaskRecord("a, line 3", "lm", text="once")
SEEN = TaskRecord("a, line 4", "mmu", question="who?", reasoning="look", answer="a", codes=CODES)
DRAWN = TaskRecord("a, line 5", "t2i", question="a cat", codes=CODES)
THOUGHT = TaskRecord("a, line 6", "r2i", question="a cat", reasoning="it sits", codes=CODES)
ALL = [CHAT, PLAIN, TEXT, SEEN, DRAWN, THOUGHT]
USER = "<|start_header_id|>user<|end_header_id|>\n"
ASSISTANT = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n"


def source_of(records=ALL, layout=LAYOUT, **options):
    return RecordSource(records, Letters(), layout, **options)


def said(source, index, task):
    row = source.row(index, task)
    return decode(row.tokens[~row.image])


def test_what_the_rows_say():
    source = source_of()
    assert dict(source.tasks) == {t: t for t in ("t2i", "lm", "lm_chat", "mmu", "r2i")}
    assert source.count("lm_chat") == 2
    think = REASONING_INSTRUCTION
    assert said(source, 0, "lm_chat") == (
        f"<bos>{USER}{think}2+2?{ASSISTANT}<think> count </think> 4"
    )
    assert said(source, 1, "lm_chat") == f"<bos>{USER}hi{ASSISTANT}hello"
    assert said(source, 0, "lm") == "<bos>once"
    assert said(source, 0, "t2i") == "<t2i><bos>a cat<soi><eoi>"
    assert said(source, 0, "mmu") == (
        f"<mmu><soi><eoi><bos>{USER}{think}who?{ASSISTANT}<think> look </think> a"
    )
    assert said(source, 0, "r2i") == (
        f"<r2i><bos>{USER}{IMAGE_INSTRUCTION}a cat{ASSISTANT}<think> it sits </think><soi><eoi>"
    )


def test_only_answers_may_be_masked():
    row = source_of().row(0, "lm_chat")
    assert decode(row.tokens[row.maskable]) == "\n<think> count </think> 4"


def test_template_and_instruction_can_be_changed():
    quirk = RecordText(
        template=ChatTemplate(end_of_turn="<eot_id>"), reasoning_instruction="Think. "
    )
    assert said(source_of(text=quirk), 0, "lm_chat").startswith(
        f"<bos>{USER}Think. 2+2?<eot_id><|start_header_id|>assistant"
    )


@pytest.mark.parametrize("task", ["lm_chat", "mmu", "r2i"])
def test_a_prompt_is_the_beginning_of_its_row(task):
    source = source_of()
    row, prompt = source.row(0, task), source.prompt(0, task)
    np.testing.assert_array_equal(row.tokens[: len(prompt)], prompt)
    assert decode(row.tokens[len(prompt) :]).startswith("<think>")


def test_drawings_are_prompted_and_plain_text_is_not():
    prompt = source_of().prompt(0, "t2i")
    assert decode(prompt["tokens"][~prompt["image"]]) == "<t2i><bos>a cat<soi><eoi>"
    with pytest.raises(InputError, match="'lm' has no prompt"):
        source_of().prompt(0, "lm")


def test_pictures_are_encoded_from_files_and_pixels(tmp_path):
    pixels = CODEC.decode(CODES[None])[0]
    Image.fromarray(pixels).save(tmp_path / "p.png")
    shown = [
        dataclasses.replace(DRAWN, codes=None, image=tmp_path / "p.png"),
        dataclasses.replace(SEEN, codes=None, image=pixels),
        DRAWN,
    ]
    source = source_of(shown, codec=CODEC)
    for index, task in ((0, "t2i"), (1, "t2i"), (0, "mmu")):
        row = source.row(index, task)
        assert IDS.codes(row.tokens[row.image]).tolist() == CODES.tolist()


def test_pictures_that_do_not_fit_are_refused_and_never_resized(tmp_path):
    pixels = CODEC.decode(CODES[None])[0]
    Image.fromarray(pixels).convert("L").save(tmp_path / "grey.png")
    Image.fromarray(pixels).resize((3, 2)).save(tmp_path / "large.png")
    (tmp_path / "no.png").write_text("text")

    def build(image, **options):
        return source_of([dataclasses.replace(DRAWN, codes=None, image=image)], **options)

    with pytest.raises(InputError, match=r"line 5: image .*grey.png' has the mode L; expected RGB"):
        build(tmp_path / "grey.png", codec=CODEC)
    with pytest.raises(InputError, match=r"line 5: image has the shape \(2, 3, 3\); expected"):
        build(tmp_path / "large.png", codec=CODEC)
    for missing in ("no.png", "none.png"):
        with pytest.raises(FailureError, match=f"line 5: image .*{missing}' cannot be read"):
            build(tmp_path / missing, codec=CODEC)
    with pytest.raises(InputError, match="line 5: image is given, but no codec"):
        build(tmp_path / "grey.png")
    with pytest.raises(InputError, match="image_tokens is 5, but the codec makes 4"):
        source_of(layout=LayoutConfig(400, 5, IDS), codec=CODEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.array([1, 2, 3])}, r"line 5: codes has shape \(3,\); expected \[4\]"),
        ({"codes": np.array([1, 2, 3, 9000])}, "line 5: image code 9000 at place 3"),
        ({"question": "a" * 399}, "line 5: a t2i row has 402 tokens"),
    ],
)
def test_a_bad_record_is_refused_before_any_row_is_made(change, message):
    with pytest.raises(InputError, match=message):
        source_of([dataclasses.replace(DRAWN, **change)])


def test_long_records_are_refused_cut_or_left_out():
    longest = said(source_of(), 0, "r2i")
    tokens = len(Letters().encode(longest[longest.index(USER) : longest.index("<soi>")])) + 2
    short = LayoutConfig(tokens - 1, 4, IDS)
    source_of(layout=LayoutConfig(tokens, 4, IDS))
    with pytest.raises(InputError, match="line 6: a mmu or r2i row has"):
        source_of(layout=short)
    assert said(source_of(layout=short, overflow="truncate"), 0, "r2i").endswith("<soi><eoi>")
    left = source_of(layout=short, overflow="drop")
    assert left.dropped == 1
    assert list(left.tasks) == ["t2i", "lm", "lm_chat", "mmu"]
    for length in range(3, 12):  # what is dropped is exactly what does not fit
        layout = LayoutConfig(length, 4, IDS)
        for record in (TEXT, DRAWN):
            try:
                source_of([record], layout)
                fits = True
            except InputError:
                fits = False
            both = source_of([record, TaskRecord("", "lm", text="")], layout, overflow="drop")
            assert both.dropped == (not fits)
    with pytest.raises(InputError, match="no record left of 1"):
        source_of([DRAWN], LayoutConfig(3, 4, IDS), overflow="drop")
    with pytest.raises(InputError, match="overflow is 'cut'"):
        source_of(overflow="cut")


def test_records_can_be_mixed_and_their_position_belongs_to_them():
    rows = {"lm_chat": 2, "t2i": 1, "mmu": 1}
    iterator = iter(mixed_batches(source_of(), rows))
    batch = next(iterator)
    assert batch["tokens"].shape == (4, LAYOUT.length)
    state = iterator.get_state()
    again = iter(mixed_batches(source_of(), rows))
    again.set_state(state)
    for one, other in zip(islice(again, 2), islice(iterator, 2), strict=True):
        np.testing.assert_array_equal(one["tokens"], other["tokens"])
    for other in (
        source_of([*ALL[:-1], dataclasses.replace(THOUGHT, codes=CODES[::-1])]),
        source_of([*ALL[:-1], dataclasses.replace(THOUGHT, question="a dog")]),
        source_of(layout=LayoutConfig(410, 4, IDS)),
    ):
        with pytest.raises(InputError, match="source"):
            iter(mixed_batches(other, rows)).set_state(state)


def test_progress_is_told():
    seen = []
    source_of(on_record=lambda done, all: seen.append((done, all)))
    assert seen == [(n, 6) for n in range(1, 7)]

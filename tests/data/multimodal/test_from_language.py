"""Published data sets as tasks of the diffusion model, and pictures brought to its size."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxreason.data.language import DataConfig
from jaxreason.data.language.records import (
    ChatRecord,
    ImageTextRecord,
    PreferenceRecord,
    PromptRecord,
    TextRecord,
)
from jaxreason.data.multimodal.fitting import pixels_of
from jaxreason.data.multimodal.from_language import read_task_records, task_records
from jaxreason.data.multimodal.record_source import RecordText
from jaxreason.data.multimodal.records import TaskRecord
from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.chat import Turn
from jaxreason.training.diffusion.records_data import RecordsData

ROUNDS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "<image>\nWhat is it?"},
    {"role": "assistant", "content": "A bus."},
    {"role": "user", "content": "Which colour?"},
    {"role": "assistant", "content": "Red."},
)


def test_every_answer_of_a_conversation_is_learnt_once_after_what_was_said_before():
    first, second = task_records(ImageTextRecord(b"png", ROUNDS, where="f, line 1"))
    assert (first.task, first.question, first.answer, first.image) == (
        "mmu",
        "What is it?",
        "A bus.",
        b"png",
    )
    assert first.before == (Turn("system", "Be brief."),)
    assert (second.question, second.answer) == ("Which colour?", "Red.")
    assert second.before == (
        *first.before,
        Turn("user", "What is it?"),
        Turn("assistant", "A bus."),
    )
    text = RecordText().of(second)
    assert text.index("Be brief.") < text.index("A bus.") < text.index("Which") < text.index("Red.")
    assert text.endswith("Red.")
    assert RecordText().of(second, prompt=True).count("assistant") == 2


def test_kinds_and_their_tasks():
    (text,) = task_records(TextRecord("once", "f"))
    assert (text.task, text.text) == ("lm", "once")
    (chat,) = task_records(ChatRecord(ROUNDS[3:], "f"))
    assert (chat.task, chat.question, chat.answer, chat.before) == (
        "lm_chat",
        "Which colour?",
        "Red.",
        (),
    )
    (prompt,) = task_records(PromptRecord(ROUNDS[3:4], "Red"))
    assert (prompt.task, prompt.answer) == ("lm_chat", "Red")
    (drawn,) = task_records(ImageTextRecord(b"png", caption="tench"))
    assert (drawn.task, drawn.question, drawn.image) == ("t2i", "tench", b"png")
    (without,) = task_records(ImageTextRecord(None, ROUNDS[3:]))
    assert without.task == "lm_chat"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (PreferenceRecord(ROUNDS[3:4], ROUNDS[4:], ROUNDS[4:], "f"), "is no task of its own"),
        (ChatRecord(ROUNDS[2:], "f"), "an answer follows no turn of the user"),
        (ChatRecord((ROUNDS[1], {"role": "tool", "content": "3"}), "f"), "a turn of the tool"),
        (ImageTextRecord(None, caption="tench", where="f"), "a caption without a picture"),
    ],
)
def test_records_without_a_task(record, message):
    with pytest.raises(InputError, match=f"^f: .*{message}"):
        list(task_records(record))
    with pytest.raises(InputError, match=r"data\.kind is 'preference'"):
        read_task_records(DataConfig(kind="preference"))


def test_the_records_experiment_reads_them_by_path_and_split(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(f'{{"question": "q", "answer": "{split}"}}\n')
    published = DataConfig(kind="chat")
    data = RecordsData(
        train=f"{tmp_path}/train.jsonl", held_out=f"{tmp_path}/test.jsonl", published=published
    )
    assert [data.read(which)[0].answer for which in ("train", "held_out")] == ["train", "test"]
    published = DataConfig(kind="chat", path=str(tmp_path))
    data = RecordsData(train="train", held_out="test", published=published)
    assert [data.read(which)[0].answer for which in ("train", "held_out")] == ["train", "test"]
    with pytest.raises(InputError, match=r"data\.task is 'lm', but data\.published says how"):
        RecordsData(train="train", task="lm", published=published)


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def shown(image, fit):
    return pixels_of(TaskRecord("f, line 1", "t2i", question="x", image=image), (8, 8), fit)


def test_pictures_are_cropped_or_squashed():
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 8:24] = (255, 0, 0)
    assert (shown(encoded(pixels), "crop")[:, 1:-1] == (255, 0, 0)).all()
    squashed = shown(encoded(pixels), "squash")
    assert (squashed[:, :1] == 0).all()
    assert (squashed[:, 3:5] == (255, 0, 0)).all()
    np.testing.assert_array_equal(shown(pixels, "crop"), shown(encoded(pixels), "crop"))
    grey = encoded(np.full((9, 8), 7, np.uint8))
    assert shown(grey, "crop").tolist() == np.full((8, 8, 3), 7).tolist()
    exact = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for fit in ("exact", "crop", "squash"):
        np.testing.assert_array_equal(shown(encoded(exact), fit), exact)
    with pytest.raises(InputError, match=r"f, line 1: image of \d+ bytes has the mode L"):
        shown(grey, "exact")
    with pytest.raises(InputError, match=r"shape \(16, 32, 3\); expected \(8, 8, 3\)"):
        shown(encoded(pixels), "exact")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_damaged_pictures_give_pixels_or_one_sentence(kind):
    random = np.random.default_rng(1)
    original = encoded(random.integers(0, 256, (24, 24, 3), np.uint8), kind)
    said = []
    for _ in range(150):
        data = bytearray(original)
        for at in random.integers(0, min(len(data), 200), 3):
            data[at] = random.integers(256)
        try:
            assert shown(bytes(data), "crop").shape == (8, 8, 3)
        except (InputError, FailureError) as error:
            said.append(str(error))
    assert all(sentence.startswith("f, line 1: image of") for sentence in said)
    assert said

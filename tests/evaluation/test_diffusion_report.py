"""Stage tables with honest errors, sheets, animations and the page that holds them."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxreason.errors import InputError
from jaxreason.evaluation.diffusion.animation import (
    FRESH,
    MASKED,
    gif,
    picture_frames,
    word_frames,
)
from jaxreason.evaluation.diffusion.pictures import Panel, sheet
from jaxreason.evaluation.diffusion.report import Moving, Report, Sheet, write
from jaxreason.evaluation.diffusion.stage_table import (
    Measured,
    StageResult,
    measured,
    measures_html,
    stage_html,
    stage_lines,
)
from jaxreason.mazes import palette
from jaxreason.tokens.image_codec import PaletteCodec

FIRST = StageResult(
    "stage 1",
    steps=100,
    tokens=5_000,
    seconds=60.0,
    tasks={
        "draw_maze": {"correct": measured([1, 0, 1, 1]), "cells": measured([1.0, 0.5, 1.0, 1.0])},
        "plan": {"correct": measured([0, 0, 0])},
    },
)
SECOND = StageResult("stage 2", 50, 2_500, 30.0, {"plan": {"correct": measured([1, 1, 0])}})


def pixels(image):
    """The set of colours of an image."""
    return {color for _, color in image.convert("RGB").getcolors(1 << 24)}


def test_a_share_has_the_binomial_error_and_never_none():
    assert measured([1, 0, 1, 1]) == Measured(0.75, np.sqrt(0.75 * 0.25 / 4), 4)
    # Nothing solved in three tries is no proof that nothing can be: half a Wilson interval.
    assert measured([0, 0, 0]) == Measured(0.0, 0.25, 3)
    assert measured([]) is None


def test_a_mean_has_the_error_of_the_mean():
    found = measured([0.25, 0.75, 0.5, 0.5])
    assert found.value == 0.5
    np.testing.assert_allclose(found.standard_error, np.std([0.25, 0.75, 0.5, 0.5], ddof=1) / 2)


def test_a_result_survives_json():
    assert StageResult.from_json(json.loads(json.dumps(FIRST.as_json()))) == FIRST


def test_the_table_has_a_row_for_each_stage_and_a_dash_where_nothing_was_measured():
    lines = stage_lines([FIRST, SECOND]).splitlines()
    assert re.split(r"  +", lines[0]) == ["stage", "text: solve", "draw maze"]
    assert re.split(r"  +", lines[1]) == ["stage 1", "0.0 ± 25.0", "75.0 ± 21.7"]
    assert re.split(r"  +", lines[2]) == ["stage 2", "66.7 ± 27.2", "–"]
    assert stage_html([FIRST, SECOND]).count("<tr>") == 3
    assert "87.5 ± 12.5" in measures_html([FIRST, SECOND], "draw_maze")


def test_words_appear_in_the_order_they_were_revealed():
    words, order = ["plan", "1", "2", "end"], np.array([1, 0, 1, -1])
    frames = word_frames(words, order, prompt=["where", "to"])
    assert len(frames) == 3
    assert FRESH not in pixels(frames[0])
    assert FRESH in pixels(frames[1])
    # The word that was never revealed stays a bar.
    assert all(MASKED in pixels(frame) for frame in frames)
    with pytest.raises(InputError, match=r"order has shape \(3,\); expected \(4,\)"):
        word_frames(words, order[:3])


def test_a_picture_appears_token_by_token():
    codec = PaletteCodec(2, 2, 4)
    codes, order = np.array([0, 1, 2, 3]), np.array([0, 1, 1, -1])
    frames = picture_frames(codec, codes, order, side=80)
    assert len(frames) == 3
    # Known from the start: the goal. Last to come: the start.
    assert palette.GOAL in pixels(frames[0])
    assert palette.START not in pixels(frames[1])
    assert palette.START in pixels(frames[2])
    assert MASKED in pixels(frames[1])
    assert MASKED not in pixels(frames[2])
    with pytest.raises(InputError, match=r"expected \(4,\)"):
        picture_frames(codec, codes[:3], order)


def test_a_gif_holds_all_frames_and_rests_on_the_last():
    frames = word_frames(["a", "b", "c"], np.array([0, 1, 2]))
    image = Image.open(io.BytesIO(gif(frames, milliseconds=100, rest=900)))
    durations = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert durations == [100, 100, 100, 900]
    assert image.info["loop"] == 0
    with pytest.raises(InputError, match="frames of one size"):
        gif([])


def test_a_sheet_needs_a_name_for_each_row():
    white = np.full((4, 4, 3), 255, np.uint8)
    with pytest.raises(InputError, match="2 names"):
        sheet([[Panel(white)]], ["one", "two"])


def test_the_page_shows_everything_and_asks_for_nothing(tmp_path):
    white = np.full((8, 8, 3), 255, np.uint8)
    wrong = np.zeros((2, 2), bool)
    wrong[0, 1] = True
    images = sheet([[Panel(white, "truth"), Panel(white, "drawn", False, wrong)]], ["maze 1"])
    assert images["light"] != images["dark"]
    moving = gif(word_frames(["a"], np.array([0])))
    report = Report(
        "Mazes <in> words",
        "Two stages.",
        [FIRST, SECOND],
        [SECOND],
        [Sheet("drawn", "Drawn mazes", "", images)],
        [Moving("words", "Words appear", moving)],
        {"model": "small"},
    )
    path = write(tmp_path / "report", report)
    text = path.read_text()
    assert "Mazes &lt;in&gt; words" in text
    assert base64.b64encode(moving).decode() in text
    assert "http" not in text.replace("http://www.w3.org", "")
    assert (path.parent / "words.gif").read_bytes() == moving
    assert (path.parent / "drawn.png").read_bytes() == images["light"]
    assert (path.parent / "stages.txt").read_text().splitlines()[1].startswith("stage 1")
    stored = json.loads((path.parent / "numbers.json").read_text())
    assert [StageResult.from_json(x) for x in stored["stages"]] == [FIRST, SECOND]

"""Rows of every task, token for token, as the Gen-Verse/MMaDA repository builds them.

Where not computed by hand, expected rows were obtained by running that repository's prompting code
with a stub tokenizer.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxreason.errors import InputError
from jaxreason.tokens import layouts
from jaxreason.tokens.layouts import LayoutConfig
from jaxreason.tokens.multimodal_vocabulary import mmada_ids

IDS = mmada_ids()
BOS, EOS, MASK, PAD = 126080, 126081, 126336, 126093
SOI, EOI, T2I, MMU, R2I, H = 126084, 126085, 126088, 126089, 126094, 126347
SMALL = LayoutConfig(text_length=6, image_tokens=4, ids=IDS)
CUT = LayoutConfig(text_length=6, image_tokens=4, ids=IDS, overflow="truncate")
CODES = [0, 1, 8191, 7]
IMAGE = [126349, 126350, 134540, 126356]
LONG = [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]


def ones(mask):
    return np.flatnonzero(mask).tolist()


def prompt_mask(row):
    """What the reference calls so: 1 for what is never masked."""
    return (~row.maskable).astype(int).tolist()


def test_text_to_image_is_padded_on_the_left_and_counts_soi_and_eoi():
    row = layouts.t2i(SMALL, [11, 12], CODES)
    assert row.tokens.tolist() == [PAD, PAD, T2I, BOS, 11, 12, EOS, SOI, *IMAGE, EOI]
    assert row.keys.astype(int).tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert ones(row.maskable) == ones(row.image) == [8, 9, 10, 11]
    assert ones(row.visible_targets) == [7, 12]


def test_text_to_image_without_text_keeps_its_task_and_ends():
    row = layouts.t2i(SMALL, [11, 12], CODES, drop_text=True)
    assert row.tokens.tolist() == [PAD] * 4 + [T2I, BOS, EOS, SOI, *IMAGE, EOI]
    assert ones(~row.keys) == [0, 1, 2, 3]
    np.testing.assert_array_equal(row.tokens, layouts.t2i(SMALL, [], CODES).tokens)


def test_understanding_answers_after_the_last_header_and_predicts_its_padding():
    row = layouts.mmu(SMALL, [11, H, 12], CODES)
    assert row.tokens.tolist() == [MMU, SOI, *IMAGE, EOI, BOS, 11, H, 12, EOS, EOS]
    assert prompt_mask(row) == [1] * 10 + [0] * 3
    assert ones(row.image) == [2, 3, 4, 5]
    assert row.keys.all()
    assert not row.visible_targets.any()
    assert prompt_mask(layouts.mmu(SMALL, [11, 12], CODES)) == [1] * 7 + [0] * 6
    assert prompt_mask(layouts.mmu(SMALL, [H, 11, H], CODES)) == [1] * 11 + [0] * 2


def test_plain_text_may_be_masked_everywhere():
    row = layouts.lm(SMALL, [11, H, 12])
    assert row.tokens.tolist() == [BOS, 11, H, 12] + [EOS] * 9
    assert row.maskable.all()
    assert row.keys.all()
    assert not row.image.any()


def test_conversation_keeps_its_prompt():
    row = layouts.lm_chat(SMALL, [11, H, 12])
    assert row.tokens.tolist() == [BOS, 11, H, 12] + [EOS] * 9
    assert prompt_mask(row) == [1, 1, 1] + [0] * 10
    assert layouts.lm_chat(SMALL, [11, 12]).maskable.all()


def test_reasoning_to_image_masks_the_answer_its_padding_and_the_image():
    row = layouts.r2i(SMALL, [11, H, 12], CODES)
    assert row.tokens.tolist() == [R2I, BOS, 11, H, 12, EOS, EOS, SOI, *IMAGE, EOI]
    assert prompt_mask(row) == [1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert ones(row.image) == [8, 9, 10, 11]
    without_header = layouts.r2i(SMALL, [11, 12], CODES)
    assert prompt_mask(without_header) == [1] * 8 + [0, 0, 0, 0, 1]


def test_a_beginning_is_written_once():
    for row in (layouts.lm, layouts.lm_chat):
        np.testing.assert_array_equal(row(SMALL, [BOS, 11]).tokens, row(SMALL, [11]).tokens)
    for row in (layouts.t2i, layouts.mmu, layouts.r2i):
        np.testing.assert_array_equal(
            row(SMALL, [BOS, 11], CODES).tokens, row(SMALL, [11], CODES).tokens
        )


def test_texts_that_are_too_long_are_cut_as_in_the_reference():
    t2i = layouts.t2i(CUT, LONG, CODES)
    assert t2i.tokens.tolist() == [T2I, BOS, 11, 12, 13, 14, EOS, SOI, *IMAGE, EOI]
    assert t2i.keys.all()
    mmu = layouts.mmu(CUT, LONG, CODES)
    assert mmu.tokens.tolist() == [MMU, SOI, *IMAGE, EOI, BOS, 11, 12, 13, 14, EOS]
    r2i = layouts.r2i(CUT, LONG, CODES)
    assert r2i.tokens.tolist() == [R2I, BOS, 11, 12, 13, 14, EOS, SOI, *IMAGE, EOI]
    for row in (layouts.lm(CUT, LONG), layouts.lm_chat(CUT, LONG)):
        assert row.tokens.tolist() == [BOS, *LONG[:12]]
    header_cut_off = layouts.mmu(CUT, [*LONG, H, 5], CODES)
    assert prompt_mask(header_cut_off) == [1] * 7 + [0] * 6


@pytest.mark.parametrize(
    ("fits", "needed", "build"),
    [
        (4, "8 tokens before its image or end, but room for 7", layouts.t2i),
        (4, "7 tokens before its image or end, but room for 6", layouts.mmu),
        (4, "7 tokens before its image or end, but room for 6", layouts.r2i),
        (11, "14 tokens before its image or end, but room for 13", layouts.lm),
        (11, "14 tokens before its image or end, but room for 13", layouts.lm_chat),
        (4, "8 tokens before its image or end, but room for 7", layouts.t2i_inference),
        (4, "7 tokens before its image or end, but room for 6", layouts.r2i_image_inference),
    ],
)
def test_an_overflow_is_an_error_unless_cutting_is_asked_for(fits, needed, build):
    codes = () if build in (layouts.lm, layouts.lm_chat) else (CODES,)
    build(SMALL, LONG[:fits], *codes)
    with pytest.raises(InputError, match=rf"{needed} \(text_length is 6\)"):
        build(SMALL, LONG[: fits + 1], *codes)


def test_lm_rows_may_have_a_length_of_their_own():
    row = layouts.lm(SMALL, [11], length=5)
    assert row.tokens.tolist() == [BOS, 11, EOS, EOS, EOS]
    assert len(row.maskable) == len(row.keys) == len(row.image) == 5


def test_image_prompts_mask_the_picture_and_have_a_twin_without_text():
    prompt = layouts.t2i_inference(SMALL, [11, 12])
    train = layouts.t2i(SMALL, [11, 12], CODES)
    assert prompt["tokens"].tolist() == [PAD, PAD, T2I, BOS, 11, 12, EOS, SOI, *[MASK] * 4, EOI]
    np.testing.assert_array_equal(prompt["keys"], train.keys)
    np.testing.assert_array_equal(prompt["image"], train.image)
    twin = layouts.t2i(SMALL, [], CODES)
    assert prompt["unconditional_tokens"].tolist() == [
        *[PAD] * 4,
        *(T2I, BOS, EOS, SOI),
        *[MASK] * 4,
        EOI,
    ]
    np.testing.assert_array_equal(prompt["unconditional_keys"], twin.keys)


def test_known_codes_stay_in_an_image_prompt():
    prompt = layouts.t2i_inference(SMALL, [11], [-1, 1, -1, 7])
    expected = [MASK, IMAGE[1], MASK, IMAGE[3]]
    assert prompt["tokens"][prompt["image"]].tolist() == expected
    assert prompt["unconditional_tokens"][prompt["image"]].tolist() == expected


def test_text_prompts_are_the_beginnings_of_their_training_rows():
    text = [11, H]
    for prompt, row in (
        (layouts.mmu_inference(SMALL, text, CODES), layouts.mmu(SMALL, [*text, 12], CODES)),
        (layouts.lm_inference(SMALL, text), layouts.lm_chat(SMALL, [*text, 12])),
        (layouts.r2i_inference(SMALL, text), layouts.r2i(SMALL, [*text, 12], CODES)),
    ):
        first = int(np.flatnonzero(row.maskable)[0])
        np.testing.assert_array_equal(prompt, row.tokens[:first])
    image = layouts.r2i_image_inference(SMALL, [*text, 12])
    row = layouts.r2i(SMALL, [*text, 12], CODES)
    np.testing.assert_array_equal(image["tokens"][~row.image], row.tokens[~row.image])
    assert (image["tokens"][row.image] == MASK).all()
    assert image["unconditional_tokens"].tolist()[:8] == [R2I, BOS, EOS, EOS, EOS, EOS, EOS, SOI]


def test_prompts_are_batched_with_padding_on_the_right():
    batch = layouts.pad_prompts([np.array([1, 2, 3]), np.array([4])], pad=9)
    assert batch["tokens"].tolist() == [[1, 2, 3], [4, 9, 9]]
    assert batch["lengths"].tolist() == [3, 1]
    stacked = layouts.stack_prompts([layouts.t2i_inference(SMALL, [n]) for n in (1, 2, 3)])
    assert {value.shape for value in stacked.values()} == {(3, 13)}
    assert stacked["tokens"][:, 5].tolist() == [1, 2, 3]
    for empty in (layouts.stack_prompts, lambda rows: layouts.pad_prompts(rows, 0)):
        with pytest.raises(InputError, match="no prompt"):
            empty([])


@pytest.mark.parametrize(
    ("text", "codes", "message"),
    [
        ([11, 126349], CODES, "126349 at place 1 is outside 0..126348"),
        ([11, -1], CODES, "-1 at place 1"),
        ([11, 12, MASK], CODES, "place 2 of the text is the mask"),
        ([1.5], CODES, "expected whole numbers"),
        ([11], [0, 1, 2, 8192], "image code 8192 at place 3 is outside 0..8191"),
        ([11], [0, 1, -1, 2], "image code -1 at place 2"),
        ([11], [0, 1, 2], r"shape \(3,\); expected \[4\]"),
    ],
)
def test_a_token_outside_its_range_is_named_with_its_place(text, codes, message):
    for build in (layouts.t2i, layouts.mmu, layouts.r2i, layouts.mmu_inference):
        with pytest.raises(InputError, match=message):
            build(SMALL, text, codes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text_length": 1}, "text_length is 1"),
        ({"image_tokens": 0}, "image_tokens is 0"),
        ({"overflow": "drop"}, "overflow is 'drop'"),
    ],
)
def test_sizes_are_checked(fields, message):
    with pytest.raises(InputError, match=message):
        LayoutConfig(**{"text_length": 6, "image_tokens": 4, "ids": IDS} | fields)


texts = st.lists(st.one_of(st.integers(0, 99), st.just(H)), max_size=20)


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(2, 12), st.integers(1, 9), st.integers(0, 2**31))
def test_every_row_has_one_length_and_hides_nothing_it_predicts(text, size, image_tokens, seed):
    layout = LayoutConfig(size, image_tokens, IDS, "truncate")
    codes = np.random.default_rng(seed).integers(0, 8192, image_tokens)
    rows = {
        "t2i": layouts.t2i(layout, text, codes),
        "mmu": layouts.mmu(layout, text, codes),
        "r2i": layouts.r2i(layout, text, codes),
        "lm": layouts.lm(layout, text),
        "lm_chat": layouts.lm_chat(layout, text),
    }
    assert set(rows) == set(layouts.TASKS)
    for task, row in rows.items():
        assert {len(array) for array in row} == {size + image_tokens + 3}
        assert row.tokens.dtype == np.int32
        assert row.keys[row.maskable].all()
        assert not (row.maskable & row.visible_targets).any()
        assert MASK not in row.tokens
        if task in ("t2i", "mmu", "r2i"):
            np.testing.assert_array_equal(IDS.codes(row.tokens[row.image]), codes)
            np.testing.assert_array_equal(ones(row.image), np.r_[layout.image_slice(task)])

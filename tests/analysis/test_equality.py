import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxreason.analysis.equality import (
    MODES,
    Equality,
    bfloat16_difference,
    difference,
    to_bfloat16,
    unchanged,
)
from jaxreason.errors import InputError

BF16 = ml_dtypes.bfloat16
NAN, INF = np.nan, np.inf


def bf16_words(words):
    return np.asarray(words, np.uint16).view(BF16)


def ask(before, after, *rule, dtype=np.float32, **options):
    return unchanged(
        np.asarray(before, dtype), np.asarray(after, dtype), Equality(*rule, **options)
    ).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16])
def test_exact_compares_bits(dtype):
    before = [0.0, -0.0, 0.0, NAN, INF, -INF, 1.0]
    after = [0.0, -0.0, -0.0, NAN, INF, INF, 1.0]
    assert ask(before, after, "exact", dtype=dtype) == [True, True, False, True, True, False, True]


def test_exact_tells_apart_two_kinds_of_nan():
    quiet, payload = np.array([0x7FC00000, 0x7FC00001], np.uint32).view(np.float32)
    assert not unchanged(np.array([quiet]), np.array([payload]), Equality("exact"))[0]


def test_exact_across_dtypes_compares_values_in_the_wider_one():
    before = np.array([1.0, 1.0, 0.1], BF16)
    after = np.array([1.0, 1.0 + 2**-20, 0.1], np.float32)
    assert unchanged(before, after, Equality("exact")).tolist() == [True, False, False]
    read = Equality("exact", read_dtype="bfloat16")
    assert unchanged(before, after, read).tolist() == [True, True, True]


@pytest.mark.parametrize("mode", MODES[1:])
def test_the_other_modes_do_not_see_the_sign_of_zero_but_every_nan(mode):
    found = ask([0.0, NAN, 1.0, NAN], [-0.0, 1.0, NAN, NAN], mode)
    assert found == [True, False, False, False]


def test_infinities():
    before, after = [INF, INF, INF], [INF, -INF, 1.0]
    assert ask(before, after, "absolute") == [True, False, False]
    assert ask(before, after, "bf16-relative") == [True, False, False]
    # inf - inf is NaN, which is not close to zero
    assert ask(before, after, "paper") == [False, False, False]


def test_the_absolute_boundary_is_inclusive():
    step = 2.0**-17
    before, after = [0.5, 0.5, 0.5], [0.5 + step, 0.5 - step, 0.5 + 2 * step]
    assert ask(before, after, "absolute", step) == [True, True, False]
    assert ask(before, after, "absolute", np.nextafter(step, 0)) == [False, False, False]


def test_float64_is_not_narrowed():
    before = np.array([1.0])
    assert not unchanged(before, before + 1e-12, Equality("absolute", 1e-13))[0]
    assert unchanged(before, before + 1e-12, Equality("absolute", 1e-11))[0]


def test_integers_and_bools_are_compared_too():
    big = np.array([2**40, 2**40], np.int64)
    assert unchanged(big, big + np.array([0, 1])).tolist() == [True, False]
    flags = np.array([True, False])
    assert unchanged(flags, ~flags).tolist() == [False, False]


def test_paper_rounds_tolerance_and_difference_to_bfloat16():
    # bfloat16(1e-5) = 1.00135803e-05, and a difference of just that counts as none; torch.isclose
    # adds its Python float to a bfloat16 tensor, so it rounds likewise.
    limit = float(BF16(1e-5))
    assert limit == pytest.approx(1.0013580322265625e-05, rel=1e-12)
    next_up = float(bf16_words([BF16(1e-5).view(np.uint16) + 1])[0])
    zero = [0.0, 0.0, 0.0]
    moved = [limit, next_up, -limit]
    assert ask(zero, moved, "paper", dtype=BF16) == [True, False, True]
    assert ask(zero, moved, "absolute", dtype=BF16) == [False, False, False]


def test_differences_in_bfloat16_are_exact_within_a_factor_of_two():
    words = np.arange(0x3F80, 0x4000, dtype=np.uint16)  # all of [1, 2)
    a, b = np.meshgrid(bf16_words(words), bf16_words(words))
    exact = b.astype(np.float64) - a.astype(np.float64)
    assert np.array_equal(bfloat16_difference(a, b).astype(np.float64), exact)


def test_differences_in_bfloat16_of_far_numbers_are_rounded_ties_to_even():
    # 3 and 2^-8: 3 - 2^-8 lies between 2.984375 and 3 (spacing 2^-6), nearer to 3.
    before, after = np.array([2.0**-8], BF16), np.array([3.0], BF16)
    assert float(bfloat16_difference(before, after)[0]) == 3.0
    # 256 - 1 is 255, exact; 257 is no bfloat16: halfway between 256 and 258, to even.
    assert float(to_bfloat16(np.float32([257.0]))[0]) == 256.0
    assert float(to_bfloat16(np.float32([259.0]))[0]) == 260.0
    assert float(bfloat16_difference(np.array([-1.0], BF16), np.array([256.0], BF16))[0]) == 256.0
    assert float(difference(np.array([-1.0], BF16), np.array([256.0], BF16))[0]) == 257.0


def test_a_step_of_one_unit_is_hidden_where_weights_are_small():
    # One unit at 2^e is 2^(e-7): below 1e-5 exactly for magnitudes below 2^-9.
    exponents = np.arange(-14, -4)
    before = (2.0**exponents).astype(BF16)
    after = (before.view(np.uint16) + 1).view(BF16)
    expected = (exponents < -9).tolist()
    assert unchanged(before, after).tolist() == expected
    assert unchanged(before, after, Equality("paper")).tolist() == expected
    assert not unchanged(before, after, Equality("bf16-relative")).any()


normal_words = arrays.arrays(np.uint16, st.integers(1, 40), elements=st.integers(0x0080, 0x7F7F))


@given(normal_words, st.data())
def test_the_relative_rule_is_bitwise_equality_of_normal_bfloat16(words, data):
    steps = data.draw(arrays.arrays(np.int16, words.shape, elements=st.integers(-2, 2)))
    signs = data.draw(arrays.arrays(np.uint16, words.shape, elements=st.sampled_from([0, 0x8000])))
    moved = np.clip(words.astype(np.int32) + steps, 0x0080, 0x7F7F).astype(np.uint16)
    a, b = bf16_words(words | signs), bf16_words(moved | signs)
    found = unchanged(a, b, Equality("bf16-relative"))
    assert np.array_equal(found, unchanged(a, b, Equality("exact")))
    assert np.array_equal(found, words == moved)


def test_the_relative_rule_is_bitwise_for_neighbours_of_every_normal_bfloat16():
    words = np.arange(0x0080, 0x7F7F, dtype=np.uint16)
    a, b = bf16_words(words), bf16_words(words + 1)
    rule = Equality("bf16-relative")
    assert unchanged(a, a, rule).all()
    assert not unchanged(a, b, rule).any()
    assert not unchanged(a, -a, rule).any()


finite = arrays.arrays(
    np.float32, 12, elements=st.floats(-(2.0**60), 2.0**60, width=32, allow_nan=False)
)


@given(finite, finite, st.sampled_from(MODES))
def test_every_rule_is_symmetric_and_reflexive(a, b, mode):
    rule = Equality(mode)
    assert unchanged(a, a, rule).all()
    assert np.array_equal(unchanged(a, b, rule), unchanged(b, a, rule))


@given(finite, finite, st.sampled_from([1e-6, 1e-3, 1.0]))
def test_rules_against_plain_python(a, b, tolerance):
    absolute = [abs(np.float32(y - x)) <= tolerance for x, y in zip(a, b, strict=True)]
    assert unchanged(a, b, Equality("absolute", tolerance)).tolist() == absolute
    narrow = [(BF16(x), BF16(y)) for x, y in zip(a, b, strict=True)]
    paper = [abs(float(BF16(y - x))) <= float(BF16(tolerance)) for x, y in narrow]
    assert unchanged(a, b, Equality("paper", tolerance)).tolist() == paper


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "close"}, "mode 'close' is unknown; expected one of exact"),
        ({"tolerance": -1.0}, "tolerance is -1.0"),
        ({"tolerance": NAN}, "tolerance is nan"),
        ({"tolerance": INF}, "tolerance is inf"),
        ({"mode": "exact", "tolerance": 1e-5}, "takes no tolerance"),
        ({"read_dtype": "float16"}, "read_dtype 'float16' is unknown"),
    ],
)
def test_bad_rules_are_named(options, said):
    with pytest.raises(InputError, match=said):
        Equality(**options)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"shape \(2,\) and after \(3,\)"):
        unchanged(np.zeros(2), np.zeros(3))

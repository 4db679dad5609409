import ml_dtypes
import numpy as np
import pytest

from jaxreason.analysis import sparsity
from jaxreason.analysis.equality import Equality, unchanged
from jaxreason.analysis.names import MATRIX_TYPES, Place, place
from jaxreason.analysis.sparsity import SWEEP, Counts, count_unchanged, grouped, readings

BF16 = ml_dtypes.bfloat16
RANDOM = np.random.default_rng(0)


def weights(dtype, size=4000):
    """Before and after: most unchanged, many a little, some much, some not finite."""
    before = RANDOM.normal(0, 0.02, size).astype(np.float32)
    delta = RANDOM.normal(0, 1, size) * 10.0 ** RANDOM.integers(-9, -2, size)
    delta[RANDOM.random(size) < 0.5] = 0
    after = (before.astype(dtype).astype(np.float64) + delta).astype(dtype)
    before = before.astype(dtype)
    before[:4], after[:4] = [np.nan, np.inf, 0.0, 1.0], [np.nan, np.inf, -0.0, np.nan]
    return before, after


@pytest.mark.parametrize("dtypes", [(np.float32,) * 2, (BF16,) * 2, (BF16, np.float32)])
def test_counts_are_those_of_each_rule_alone(dtypes):
    before, _ = weights(dtypes[0])
    _, after = weights(dtypes[1])
    after[::2] = before[::2].astype(dtypes[1])
    found = count_unchanged(before.reshape(40, 100), after.reshape(40, 100))
    assert found.size == 4000
    for name, rule in readings().items():
        assert found.unchanged[name] == unchanged(before, after, rule).sum(), name
        assert type(found.unchanged[name]) is int
    for tolerance in SWEEP:
        absolute = unchanged(before, after, Equality("absolute", tolerance)).sum()
        paper = unchanged(before, after, Equality("paper", tolerance)).sum()
        assert (found.sweep[tolerance], found.paper_sweep[tolerance]) == (absolute, paper)
    finite = np.isfinite(before.astype(np.float64)) & np.isfinite(after.astype(np.float64))
    assert found.non_finite == (~finite).sum()
    a, b = before[finite].astype(np.float64), after[finite].astype(np.float64)
    assert found.before_square == pytest.approx(np.sum(a**2), rel=1e-6)
    assert found.delta_square == pytest.approx(np.sum((b - a) ** 2), rel=1e-5)
    assert found.delta_largest == pytest.approx(np.abs(b - a).max(), rel=1e-6)


def test_counts_do_not_depend_on_the_pieces(monkeypatch):
    before, after = weights(np.float32)
    whole = count_unchanged(before, after)
    monkeypatch.setattr(sparsity, "_CHUNK", 17)
    pieces = count_unchanged(before, after)
    assert pieces.unchanged == whole.unchanged
    assert pieces.sweep == whole.sweep
    assert pieces.paper_zero == whole.paper_zero
    assert pieces.delta_square == pytest.approx(whole.delta_square)


def test_a_constructed_difference_has_its_known_sparsity():
    before = np.full((10, 10), 0.5, np.float32)
    after = before.copy()
    after[0] += 2.0**-4  # 10 changed in every sense
    after[1] += 2.0**-20  # 10 changed in float32 alone: below half a unit of bfloat16, and 1e-5
    after[2] += 2.0**-15  # 10 changed in float32 beyond 1e-5; invisible in bfloat16
    after[3, 0] = before[3, 0]
    found = count_unchanged(before, after)
    assert found.unchanged == {
        "exact": 70,
        "absolute": 80,
        "bf16_exact": 90,
        "bf16_relative": 90,
        "paper": 90,
    }
    assert found.sparsity("exact") == 0.7
    assert found.delta_largest == 2.0**-4


def test_paper_zero_has_no_tolerance_and_no_sign():
    before = np.array([0.0, 0.0, 2.0**-20, 1.0], BF16)
    after = np.array([-0.0, 2.0**-20, 2.0**-20, 2.0], BF16)
    found = count_unchanged(before, after)
    assert found.paper_zero == 2  # the second moved, if within every tolerance above 1e-6
    assert found.unchanged["paper"] == 3
    assert found.unchanged["exact"] == 1


def test_sums_beyond_32_bits_are_exact():
    part = Counts(2**31 - 1, {"exact": 2**31 - 3})
    total = sum([part] * 5, Counts())
    assert (total.size, total.unchanged["exact"]) == (5 * (2**31 - 1), 5 * (2**31 - 3))


def test_an_empty_tensor_has_no_sparsity():
    empty = count_unchanged(np.zeros((0, 3)), np.zeros((0, 3)))
    assert (empty.size, empty.sparsity("exact")) == (0, None)


def test_groups_add_up_and_leave_out_what_has_none():
    named = [("a", Counts(2, {"exact": 1})), ("b", Counts(3, {"exact": 3})), ("c", Counts(4))]
    found = grouped(named, {"a": 0, "b": 0, "c": None}.get)
    assert found == {0: Counts(5, {"exact": 4})}


@pytest.mark.parametrize(
    ("name", "layer", "matrix"),
    [
        ("embedding", None, "embedding"),
        ("head", None, "head"),
        ("final_norm", None, "norm"),
        ("layers/11/query", 11, "query"),
        ("layers/0/query_bias", 0, "bias"),
        ("layers/2/attention_norm", 2, "norm"),
        ("model.embed_tokens.weight", None, "embedding"),
        ("lm_head.weight", None, "head"),
        ("model.norm.weight", None, "norm"),
        ("model.layers.3.self_attn.q_proj.weight", 3, "query"),
        ("model.layers.3.self_attn.q_proj.bias", 3, "bias"),
        ("model.layers.3.self_attn.o_proj.weight", 3, "output"),
        ("model.layers.30.mlp.gate_proj.weight", 30, "gate"),
        ("model.layers.30.mlp.down_proj.weight", 30, "down"),
        ("model.layers.3.input_layernorm.weight", 3, "norm"),
        ("model.layers.3.self_attn.k_norm.weight", 3, "norm"),
        ("model.layers.3.mlp.experts.17.up_proj.weight", 3, "up"),
        ("transformer.h.5.attn.c_attn.weight", 5, "query_key_value"),
        ("transformer.h.5.attn.c_proj.weight", 5, "output"),
        ("transformer.h.5.mlp.c_proj.weight", 5, "down"),
        ("transformer.h.5.ln_1.weight", 5, "norm"),
        ("transformer.h.5.ln_1.bias", 5, "bias"),
        ("transformer.wte.weight", None, "embedding"),
        ("model.layers.1.self_attn.q_proj.lora_A.weight", 1, "other"),
        ("", None, "other"),
        ("weight", None, "other"),
    ],
)
def test_what_a_name_says(name, layer, matrix):
    assert place(name) == Place(layer, matrix)
    assert matrix in MATRIX_TYPES

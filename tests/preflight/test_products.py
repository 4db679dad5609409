"""FLOPs of products in texts small enough to count by hand, and in programs that recompute."""

import jax
import jax.numpy as jnp
import pytest

from jaxreason.training.preflight.hlo import parse
from jaxreason.training.preflight.products import executed_flops


def entry(*lines, before=""):
    """A module whose entry computation has these lines."""
    body = "\n".join(f"  {line}" for line in lines)
    return parse(f"HloModule m\n\n{before}\n\nENTRY %main (p: f32[8]) -> f32[8] {{\n{body}\n}}\n")


@pytest.mark.parametrize(
    ("left", "right", "result", "how", "flops"),
    [
        # A product [8, 128, 64] x [64, 128], as TPUs write it.
        ("8,128,64", "64,128,1", "8,128,128", "window={size=1}, dim_labels=0bf_io0->0bf",
         2 * 8 * 128 * 64 * 128),
        # Two axes are summed: heads are the kernel's places.
        ("8,4,128,16", "4,16,64,1", "8,128,64,1",
         "window={size=1x4}, dim_labels=01bf_1io0->0bf1", 2 * 8 * 128 * 4 * 16 * 64),
        # Nothing but one element of the kernel meets the one element of a padded axis.
        ("64,2,16,1", "8,128,64,1", "2,16,8,128",
         "window={size=8x1 pad=7_7x0_0 rhs_reversal=1x0}, dim_labels=f1b0_0oi1->1b0f",
         2 * 8 * 128 * 64 * 2 * 16),
        # A batch of 4 products [3, 5] x [5, 7]: zeros between the elements cost nothing.
        ("4,3,5", "4,5,7", "4,3,7",
         "window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0io->0bf", 2 * 4 * 3 * 5 * 7),
        # 'Same' padding: two of three elements meet something at either end.
        ("1,6,2", "3,2,5", "1,6,5",
         "window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f", 2 * (3 * 6 - 2) * 2 * 5),
    ],
)  # fmt: skip
def test_convolutions_count_what_meets(left, right, result, how, flops):
    found = entry(
        f"%p = f32[{left}]{{0}} parameter(0)",
        f"%k = f32[{right}]{{0}} parameter(1)",
        f"ROOT %c = f32[{result}]{{0}} convolution(%p, %k), {how}",
    )
    assert executed_flops(found) == flops


@pytest.mark.parametrize(
    ("queries", "keys"),
    [("8,2,3,128,16", "8,2,256,16"), ("8,6,128,16", "8,256,16"), ("48,128,16", "256,16")],
)
def test_kernels_of_splash_attention_count_by_what_a_query_sees(queries, keys):
    found = entry(
        "%t = s8[1,1,1]{2,1,0} parameter(0)",
        f"%q = bf16[{queries}]{{0}} parameter(1)",
        "%s = s32[8,128,128]{2,1,0} parameter(3)",
        f"%k = bf16[{keys}]{{0}} parameter(2)",
        "%splash_mqa_fwd.1 = f32[8]{0} custom-call(%t, %t, %q, %k, %k, %s)",
        "%splash_mqa_dkv.1 = f32[8]{0} custom-call(%t, %t, %q, %k, %k, %s)",
        "%splash_mqa_dq.1 = f32[8]{0} custom-call(%t, %t, %q, %k, %k, %s)",
        "%other.1 = f32[8]{0} custom-call(%q)",
    )
    product = 2 * 8 * 2 * 3 * 128 * 256 * 16
    assert executed_flops(found) == 9 * product
    assert executed_flops(found, seen=0.5) == 4.5 * product


def test_recomputation_and_loops_count():
    def layer(x, w):
        return jnp.tanh(x @ w @ w), None

    def flops(policy):
        body = policy(layer)
        loss = jax.jit(jax.grad(lambda ws, x: jax.lax.scan(body, x, ws)[0].sum()))
        weights, rows = jnp.ones((5, 16, 16)), jnp.ones((4, 16))
        return executed_flops(parse(loss.lower(weights, rows).compile().as_text()))

    product = 2 * 4 * 16 * 16
    # Two products a layer forward, four back; recomputing needs both again but the last's result.
    assert flops(lambda f: f) == 5 * 6 * product
    assert flops(jax.checkpoint) >= 5 * 7 * product

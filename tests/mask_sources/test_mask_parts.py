"""Sources from checkpoints, spectra and structure, against numpy."""

import doctest
import importlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from jaxreason import masks
from jaxreason.errors import InputError
from jaxreason.masks.sets import density
from jaxreason.masks.sources.from_checkpoints import difference
from jaxreason.masks.sources.matrices import MatrixAxes, as_matrices, matrix_axes
from jaxreason.masks.sources.principal import low_rank_safe, principal
from jaxreason.masks.sources.steps import changed_in_steps, tracked
from jaxreason.masks.sources.structure import by_layer, by_matrix, by_path, matrix_type
from jaxreason.masks.tracking import track_updates

L, D, H, K, M = 2, 6, 2, 3, 6  # one shape of matrices: one program
SHAPES = {
    "embedding": (7, D),
    "final_norm": (D,),
    "layers": {
        "query": (L, D, H, K),
        "query_bias": (L, H, K),
        "output": (L, H, K, D),
        "down": (L, M, D),
        "attention_norm": (L, D),
    },
}


def random_tree(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(dtype),
        SHAPES,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(
    "module",
    [
        *("sets", "storage", "sources.magnitude", "sources.random", "sources.principal"),
        *("sources.from_checkpoints", "sources.structure", "sources.steps"),
    ],
)
def test_docstring_examples_run(module):
    found = doctest.testmod(importlib.import_module(f"jaxreason.masks.{module}"))
    assert found.failed == 0


# Two checkpoints


def test_exact_difference_compares_bit_patterns():
    before = np.array([0.0, 1.0, 1.0, -2.0], np.float32)
    after = np.array([-0.0, 1.0, np.nextafter(np.float32(1), np.float32(2)), -2.0], np.float32)
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16):
        old, new = before.astype(dtype), after.astype(dtype)
        expected = old.view(f"u{old.itemsize}") != new.view(f"u{new.itemsize}")
        assert_same(difference({"w": old}, {"w": new}), {"w": expected})
    assert expected.tolist() == [True, False, False, False]  # half a step is lost in bfloat16
    mask = difference({"w": before}, {"w": after}, read_dtype="bfloat16")
    assert_same(mask, {"w": expected})


def test_absolute_difference_includes_its_boundary():
    tolerance = 2.0**-10
    after = np.array([0, tolerance, -tolerance, 2 * tolerance, -2 * tolerance], np.float32)
    mask = difference({"w": np.zeros(5, np.float32)}, {"w": after}, "absolute", tolerance=tolerance)
    assert mask["w"].tolist() == [False, False, False, True, True]


def test_a_step_in_bfloat16_is_unseen_at_1e5_below_two_to_the_minus_nine():
    exponents = np.arange(-16, 1)
    old = (2.0**exponents).astype(ml_dtypes.bfloat16)
    new = (old.view(np.uint16) + 1).view(ml_dtypes.bfloat16)
    mask = difference({"w": old}, {"w": new}, "absolute", tolerance=1e-5)
    assert_same(mask["w"], exponents >= -9)
    assert difference({"w": old}, {"w": new})["w"].all()


def test_the_relative_probe_is_bitwise_equality_of_normal_bfloat16():
    """Appendix E of arXiv:2511.08567: eta is below half a unit in the last place."""
    rng = np.random.default_rng(0)
    old = rng.normal(size=4000).astype(np.float32)
    new = (old + rng.normal(size=4000) * 1e-3 * abs(old)).astype(np.float32)
    cast = [leaf.astype(ml_dtypes.bfloat16).view(np.uint16) for leaf in (old, new)]
    mask = difference({"w": old}, {"w": new}, "bf16_relative")
    assert_same(mask["w"], cast[0] != cast[1])
    assert 0.1 < density(mask).share < 0.9


def test_checkpoints_that_cannot_be_compared_are_refused_by_path():
    tree = random_tree()
    refused = [
        ({**tree, "final_norm": np.ones(3, np.float32)}, r"final_norm has shape \(6,\) in before"),
        ({**tree, "head": np.ones(3, np.float32)}, "head is in after but not in before"),
        ({k: v for k, v in tree.items() if k != "embedding"}, "embedding is in before but not"),
        ({**tree, "final_norm": np.full(D, np.nan, np.float32)}, "after final_norm has NaN"),
        (random_tree(dtype=np.float16), "embedding is float32 before and float16 after"),
        (tree, "empty: no entry differs"),
    ]
    for after, message in refused:
        with pytest.raises(InputError, match=message):
            difference(tree, after)
    with pytest.raises(InputError, match="mode='fuzzy'"):
        difference(tree, tree, "fuzzy")
    with pytest.raises(InputError, match="tolerance=-1"):
        difference(tree, tree, "absolute", tolerance=-1)
    assert density(difference(tree, tree, allow_empty=True)).active == 0


# Spectra


def principal_by_numpy(matrix, share, rank):
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    rebuilt = np.abs((left[:, :rank] * values[:rank]) @ right[:rank])
    mask = np.zeros(matrix.size, bool)
    mask[np.argsort(-rebuilt, axis=None)[: int(share * matrix.size + 0.5)]] = True
    return mask.reshape(matrix.shape)


def test_principal_entries_are_those_of_numpys_decomposition_of_each_matrix():
    params = random_tree()
    mask = principal(params, 0.3, 2)
    layers = params["layers"]
    for layer in range(L):
        expected = {
            "query": principal_by_numpy(layers["query"][layer].reshape(D, H * K), 0.3, 2),
            "output": principal_by_numpy(layers["output"][layer].reshape(H * K, D), 0.3, 2),
            "down": principal_by_numpy(layers["down"][layer], 0.3, 2),
        }
        for name, matrix in expected.items():
            found = mask["layers"][name][layer].reshape(matrix.shape)
            np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(
        mask["embedding"], principal_by_numpy(params["embedding"], 0.3, 2)
    )
    for vector in (mask["final_norm"], *(mask["layers"][n] for n in ("query_bias",))):
        assert not vector.any()
    assert not mask["layers"]["attention_norm"].any()


def test_the_safe_mask_is_small_weights_and_what_is_not_principal():
    params = {"down": random_tree()["layers"]["down"], "norm": np.ones(3, np.float32)}
    safe = low_rank_safe(params, 0.5, 2, principal_density=0.3)
    weights = np.abs(params["down"])
    small = weights <= np.sort(weights, axis=None)[weights.size // 2 - 1]
    large = np.stack([principal_by_numpy(matrix, 0.3, 2) for matrix in params["down"]])
    np.testing.assert_array_equal(safe["down"], small | ~large)
    assert safe["norm"].all()


def test_other_layouts_of_matrices_can_be_named():
    kernel = random_tree()["layers"]["output"]
    turned = MatrixAxes(rows=(-1,), columns=(-3, -2))
    mask = principal({"w": kernel}, 0.3, 2, matrices=lambda path, leaf: turned)["w"]
    for layer in range(L):
        matrix = kernel[layer].reshape(H * K, D).T
        expected = principal_by_numpy(matrix, 0.3, 2).T.reshape(H, K, D)
        np.testing.assert_array_equal(mask[layer], expected)
    heads = MatrixAxes(rows=(-2,), columns=(-1,))
    stack, back = as_matrices("w", kernel, heads)
    assert stack.shape == (L * H, K, D)
    np.testing.assert_array_equal(back(stack), kernel)


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("layers/query", (L, D, H, K), (L, D, H * K)),
        ("layers/output", (L, H, K, D), (L, H * K, D)),
        ("layers/down", (L, M, D), (L, M, D)),
        ("attention/query/kernel", (D, H, K), (1, D, H * K)),
        ("attention/out/kernel", (H, K, D), (1, H * K, D)),
        ("attention/query/kernel", (D, M), (1, D, M)),
        ("embed/embedding", (7, D), (1, 7, D)),
        ("layers/query_bias", (L, H, K), None),
        ("layers/mlp_norm", (L, D), None),
        ("norm/scale", (L, D), None),
        ("final_norm", (D,), None),
    ],
)
def test_which_axes_are_matrices(path, shape, expected):
    leaf = jnp.arange(np.prod(shape)).reshape(shape)
    axes = matrix_axes(path, leaf)
    if expected is None:
        assert axes is None
        return
    stack, back = as_matrices(path, leaf, axes)
    assert stack.shape == expected
    np.testing.assert_array_equal(back(stack), leaf)


def test_a_rank_or_axis_a_matrix_does_not_have_is_refused_by_name():
    with pytest.raises(InputError, match=r"rank=6: layers/down is a matrix of 5 by 6"):
        principal({"layers": {"down": jnp.ones((L, 5, D))}}, 0.5, 6)
    with pytest.raises(InputError, match="rank=0"):
        principal({"w": jnp.ones((3, 3))}, 0.5, 0)
    with pytest.raises(InputError, match="no matrix"):
        principal({"w": jnp.ones(3)}, 0.5, 1)
    with pytest.raises(InputError, match="matrix axes of w"):
        principal({"w": jnp.ones((3, 3))}, 0.5, 1, matrices=lambda p, x: MatrixAxes((-3,), (-1,)))
    with pytest.raises(InputError, match="w has NaN"):
        principal({"w": jnp.full((3, 3), jnp.nan)}, 0.5, 1)


# Structure


def active(mask):
    return {name for name, leaf in density(mask).leaves.items() if leaf.active}


def test_parts_are_found_by_path_type_and_layer():
    params = random_tree()
    assert active(by_path(params, "^layers/.*norm$")) == {"layers/attention_norm"}
    assert active(by_matrix(params, "query")) == {"layers/query"}
    assert active(by_matrix(params, ("down", "embedding"))) == {"layers/down", "embedding"}
    assert active(by_matrix(params, "norm")) == {"layers/attention_norm", "final_norm"}
    assert active(by_matrix(params, "bias")) == {"layers/query_bias"}
    mask = by_layer(params, 1)
    assert not mask["embedding"].any()
    for leaf in mask["layers"].values():
        assert not leaf[0].any()
        assert leaf[1].all()
    listed = {"layers": [{"w": np.zeros(2)}, {"w": np.zeros(3)}], "head": np.zeros(2)}
    assert active(by_layer(listed, [1])) == {"layers/1/w"}
    named = {"block_0": {"w": np.zeros(2)}, "block_1": {"w": np.zeros(3)}}
    assert active(by_layer(named, 0, stack="block")) == {"block_0/w"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "query"),
        ("model.layers.3.self_attn.q_proj.bias", "bias"),
        ("model.layers.3.input_layernorm.weight", "norm"),
        ("layers/query_norm", "norm"),
        ("mlp/down_proj/kernel", "down"),
        ("token_table/embedding", "embedding"),
        ("lm_head/kernel", "head"),
        ("conv/kernel", None),
    ],
)
def test_types_of_matrices_in_other_naming_schemes(path, kind):
    assert matrix_type(path) == kind


def test_parts_that_do_not_exist_are_refused():
    params = random_tree()
    refused = [
        (lambda: by_path(params, "value"), "matches no leaf; there are embedding, final_norm"),
        (lambda: by_path(params, "("), "no regular expression"),
        (lambda: by_matrix(params, "value"), "no leaf of type value"),
        (lambda: by_matrix(params, "qkv"), "qkv.*expected some of query"),
        (lambda: by_matrix(params, ()), "expected some of"),
        (lambda: by_layer(params, [0, 2]), r"layers=\[0, 2\]: expected some of \[0, 1\]"),
        (lambda: by_layer(params, []), "expected some of"),
    ]
    for source, message in refused:
        with pytest.raises(InputError, match=message):
            source()


# First steps


def test_the_union_over_steps_holds_the_last_mask_and_what_came_back():
    rng = np.random.default_rng(0)
    run = [np.zeros(40, np.float32)]
    for _ in range(4):
        now = run[-1].copy()
        now[rng.random(40) < 0.2] = rng.integers(0, 2)  # some return to zero
        run.append(now)
    union = changed_in_steps({"w": tree} for tree in run)["w"]
    expected = np.any([tree != 0 for tree in run[1:]], axis=0)
    np.testing.assert_array_equal(union, expected)
    assert (expected & (run[-1] == 0)).any()
    assert not (np.asarray(difference({"w": run[0]}, {"w": run[-1]})["w"]) & ~expected).any()
    with pytest.raises(InputError, match="fewer than two"):
        changed_in_steps([{"w": run[0]}])
    with pytest.raises(InputError, match="empty"):
        changed_in_steps([{"w": run[0]}] * 2)


def test_a_tracker_in_the_optimizer_gives_the_same_union():
    params = {"w": jnp.linspace(0.5, 2, 30)}
    optimizer = optax.chain(optax.sgd(1e-3), optax.chain(track_updates()))
    update = jax.jit(optimizer.update)
    state, run = optimizer.init(params), [params]
    with pytest.raises(InputError, match="no update of 0 changed"):
        tracked(state, params)
    for step in range(6):
        gradients = {"w": jnp.sin(jnp.arange(30.0) * (step + 1))}
        updates, state = update(gradients, state, run[-1])
        run.append(optax.apply_updates(run[-1], updates))
    mask = tracked(state, params)
    assert_same(mask, changed_in_steps(run, read_dtype="bfloat16"))
    assert 0 < density(mask).share < 1
    with pytest.raises(InputError, match="holds 0 states"):
        tracked(optax.sgd(1.0).init(params), params)


def test_every_public_name_loads():
    for name in masks.__all__:
        assert getattr(masks, name).__doc__

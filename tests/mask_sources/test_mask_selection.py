"""Sources that choose by score: magnitude, random, gradients; against plain numpy sorting."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxreason.errors import InputError
from jaxreason.masks.sets import density, intersection, union
from jaxreason.masks.sources.gradients import gradient_mask, gradient_scores
from jaxreason.masks.sources.magnitude import magnitude
from jaxreason.masks.sources.random import random_family, random_mask
from jaxreason.masks.sources.selection import top_entries

SHAPES = {"layers": {"query": (3, 4, 2, 2), "norm": (3, 4)}, "embedding": (7, 4), "scale": ()}


def tree_of(draw, shapes=None):
    shapes = SHAPES if shapes is None else shapes
    return jax.tree.map(draw, shapes, is_leaf=lambda node: isinstance(node, tuple))


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return tree_of(lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32))


def chosen_by_sorting(scores, share, scope, largest):
    """Stable sort of the flattened scores: earlier entries first among equals."""
    leaves, structure = jax.tree.flatten(scores)
    leaves = [np.asarray(leaf, np.float64) for leaf in leaves]
    groups = [leaves] if scope == "global" else [[leaf] for leaf in leaves]
    masks = []
    for group in groups:
        flat = np.concatenate([leaf.reshape(-1) for leaf in group])
        order = np.argsort(-flat if largest else flat, kind="stable")
        mask = np.zeros(flat.size, bool)
        mask[order[: int(np.floor(share * flat.size + 0.5))]] = True
        parts = np.split(mask, np.cumsum([leaf.size for leaf in group])[:-1])
        masks += [part.reshape(leaf.shape) for part, leaf in zip(parts, group, strict=True)]
    return jax.tree.unflatten(structure, masks)


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("scope", ["leaf", "global"])
@pytest.mark.parametrize("largest", [True, False])
def test_magnitude_is_what_sorting_gives(params, scope, largest):
    for share in (0.3, 1.0):
        mask = magnitude(params, share, scope=scope, largest=largest)
        sizes = jax.tree.map(lambda leaf: np.abs(np.asarray(leaf)), params)
        assert_same(mask, chosen_by_sorting(sizes, share, scope, largest))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-40, 3e38, 0.5]), min_size=12, max_size=12),
    st.integers(1, 19),
    st.booleans(),
    st.sampled_from(["leaf", "global"]),
)
def test_ties_go_to_the_earlier_entry_and_the_count_is_exact(values, parts, largest, scope):
    tree = {"a": np.asarray(values[:6], np.float32), "b": np.asarray(values[6:], np.float32)}
    tree["b"] = tree["b"].reshape(3, 2)
    sizes = jax.tree.map(np.abs, tree)
    try:
        mask = magnitude(tree, parts / 19, scope=scope, largest=largest)
    except InputError:
        assert parts == 1
        assert scope == "leaf"  # a nineteenth of six entries is less than half of one
        return
    assert_same(mask, chosen_by_sorting(sizes, parts / 19, scope, largest))


def test_bfloat16_weights_and_negative_scores_are_ordered_by_value():
    rng = np.random.default_rng(1)
    scores = {"w": jnp.asarray(rng.normal(size=(40,)), jnp.bfloat16)}
    for largest in (True, False):
        mask = top_entries(scores, 0.4, largest=largest)
        assert_same(mask, chosen_by_sorting(scores, 0.4, "leaf", largest))


def test_magnitude_works_under_jit_and_on_any_layout(params):
    expected = magnitude(params, 0.3, scope="global")
    assert_same(jax.jit(partial(magnitude, density=0.3, scope="global"))(params), expected)
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    embedding = np.random.default_rng(2).integers(-3, 4, (8, 6)).astype(np.float32)  # ties
    one = magnitude({"w": jnp.asarray(embedding)}, 0.4)
    spread = jax.device_put(embedding, NamedSharding(mesh, P("a", "b")))
    many = magnitude({"w": spread}, 0.4)
    assert_same(many, one)
    assert many["w"].sharding.is_equivalent_to(spread.sharding, 2)


def test_counts_pass_the_limit_of_32_bits_without_wrapping():
    """The two words of a count, on numbers too large to allocate."""
    from jaxreason.masks.sources import selection

    class Wide:
        """Looks like three bool rows of 2**31 True entries each."""

        size, ndim = 3 * 2**31, 2

        def sum(self, axis, dtype):
            assert axis == (1,)
            return jnp.full(3, 2**31, dtype)

    count = selection._total([Wide(), Wide(), jnp.ones(5, bool)])
    assert (int(count.high) << 16) + int(count.low) == 6 * 2**31 + 5


# Random masks


def test_random_masks_have_the_density_asked_for():
    params = {"w": jax.ShapeDtypeStruct((400, 250), jnp.float32)}
    mask = random_mask(jax.random.key(0), params, 0.02)
    count = int(mask["w"].sum())
    assert abs(count - 2000) < 6 * np.sqrt(2000 * 0.98)
    exact = random_mask(jax.random.key(0), params, 0.02, exact=True)
    assert int(exact["w"].sum()) == 2000
    # An exact draw is spread evenly: rows follow a binomial law, of variance n p (1 - p).
    rows = np.asarray(exact["w"]).sum(1)
    assert rows.var() == pytest.approx(250 * 0.02 * 0.98, rel=0.3)


def test_a_random_mask_depends_on_path_and_key_but_not_on_other_leaves_or_layout(params):
    key = jax.random.key(3)
    mask = random_mask(key, params, 0.5)
    alone = random_mask(key, {"embedding": params["embedding"]}, 0.5)
    assert_same(mask["embedding"], alone["embedding"])
    renamed = random_mask(key, {"head": params["embedding"]}, 0.5)
    assert (renamed["head"] != mask["embedding"]).any()
    other = random_mask(jax.random.key(4), params, 0.5)
    assert (other["embedding"] != mask["embedding"]).any()
    for sizes in ((8, 1), (2, 4)):
        mesh = jax.make_mesh(sizes, ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
        layout = NamedSharding(mesh, P("a", "b"))
        shape = jax.ShapeDtypeStruct((16, 8), jnp.float32)
        spread = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=layout)
        for exact in (False, True):
            one = random_mask(key, {"w": shape}, 0.3, exact=exact)["w"]
            many = random_mask(key, {"w": spread}, 0.3, exact=exact)["w"]
            assert_same(many, one)
        assert many.sharding.is_equivalent_to(layout, 2)


@pytest.mark.parametrize("exact", [False, True])
def test_members_of_a_family_are_disjoint_and_do_not_depend_on_its_size(exact):
    params = {"w": np.zeros((50, 40)), "b": np.zeros(40)}
    key = jax.random.key(0)
    family = random_family(key, params, 0.2, 5, exact=exact)
    for number, mask in enumerate(family):
        for other in family[:number]:
            assert density(intersection(mask, other)).active == 0
    assert density(union(*family)).active == 2040  # five fifths: all of it
    assert_same(family[0], random_mask(key, params, 0.2, exact=exact))
    assert_same(family[1], random_family(key, params, 0.2, 2, exact=exact)[1])


# Gradient scores


def quadratic(params, batch, key):
    """Mean over counted rows of (x . w)^2 / 2: the gradient of a row is (x . w) x."""
    del key
    value = 0.5 * (batch["x"] @ params["w"]) ** 2 * batch["counts"]
    count = batch["counts"].sum()
    return value.sum() / count, {"loss": (value.sum(), count)}


def test_gradient_scores_are_the_formulas_over_the_rows():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(6, 5)), rng.normal(size=5)
    rows = (x @ w)[:, None] * x
    params = {"w": jnp.asarray(w, jnp.float32)}
    key = jax.random.key(0)
    # Two batches of three rows, one row of which does not count: means are over all five.
    counts = np.array([1, 1, 1, 1, 1, 0.0])
    batches = [
        {"x": jnp.asarray(x[i : i + 3], jnp.float32), "counts": jnp.asarray(counts[i : i + 3])}
        for i in (0, 3)
    ]
    mean = rows[:5].mean(0)
    scores = gradient_scores(quadratic, params, batches, key=key)
    np.testing.assert_allclose(scores["w"], np.abs(mean), rtol=1e-5)
    scores = gradient_scores(quadratic, params, batches, key=key, measure="saliency")
    np.testing.assert_allclose(scores["w"], np.abs(mean * w), rtol=1e-5)
    single = [
        {"x": jnp.asarray(x[i : i + 1], jnp.float32), "counts": jnp.ones(1)} for i in range(6)
    ]
    scores = gradient_scores(quadratic, params, single, key=key, measure="fisher")
    np.testing.assert_allclose(scores["w"], (rows**2).mean(0), rtol=1e-5)
    mask = gradient_mask(quadratic, params, single, 0.4, key=key, measure="fisher")
    assert_same(mask, chosen_by_sorting({"w": (rows**2).mean(0)}, 0.4, "leaf", True))


def test_a_batch_where_nothing_counts_adds_nothing():
    params, key = {"w": jnp.ones(2)}, jax.random.key(0)
    full = {"x": jnp.ones((1, 2)), "counts": jnp.ones(1)}
    empty = {"x": jnp.ones((1, 2)), "counts": jnp.zeros(1)}
    one = gradient_scores(quadratic, params, [full], key=key)
    assert_same(gradient_scores(quadratic, params, [full, empty], key=key), one)
    with pytest.raises(InputError, match="batches"):
        gradient_scores(quadratic, params, [empty], key=key)


# Bad input


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_outside_its_range_is_refused(params, share):
    for source in (
        lambda: magnitude(params, share),
        lambda: random_mask(jax.random.key(0), params, share),
        lambda: gradient_mask(quadratic, params, [], share, key=jax.random.key(0)),
    ):
        with pytest.raises(InputError, match=r"density=.*\(0, 1\]"):
            source()


def test_what_no_mask_can_be_drawn_from_is_refused_by_name():
    broken = {"layers": {"query": jnp.array([1.0, jnp.nan])}}
    with pytest.raises(InputError, match="layers/query has NaN"):
        magnitude(broken, 0.5)
    with pytest.raises(InputError, match="layers/step is int32"):
        magnitude({"layers": {"step": jnp.arange(3)}}, 0.5)
    with pytest.raises(InputError, match="w is float64"):
        magnitude({"w": np.ones(3)}, 0.5)
    with pytest.raises(InputError, match="no leaves"):
        magnitude({}, 0.5)
    with pytest.raises(InputError, match="empty"):
        magnitude({"w": jnp.ones(10)}, 0.01)
    with pytest.raises(InputError, match="empty"):
        random_mask(jax.random.key(0), {"w": np.zeros(3)}, 1e-6)
    with pytest.raises(InputError, match="scope='row'"):
        magnitude({"w": jnp.ones(10)}, 0.5, scope="row")
    with pytest.raises(InputError, match=r"count=4: expected 1 to 3"):
        random_family(jax.random.key(0), {"w": np.zeros(30)}, 0.3, 4)
    with pytest.raises(InputError, match="measure='hessian'"):
        gradient_mask(
            quadratic, {"w": jnp.ones(2)}, [], 0.5, key=jax.random.key(0), measure="hessian"
        )
    batch = {"x": jnp.full((1, 2), 3e38), "counts": jnp.ones(1)}
    with pytest.raises(InputError, match="gradient of w has NaN or infinite"):
        gradient_mask(quadratic, {"w": jnp.ones(2)}, [batch], 0.5, key=jax.random.key(0))

"""Queries that see no key, as in padding: finite, and without a say in what is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.attention import attend, attend_in_parts

H, G, T, K = 6, 2, 10, 8


@pytest.mark.parametrize("parts", [1, 2])
def test_a_query_that_sees_no_key_has_finite_values_and_gradients(parts):
    query, key, value = (
        jax.random.normal(jax.random.key(seed), (1, heads, T, K))
        for seed, heads in enumerate((H, G, G))
    )
    mask = jnp.tril(jnp.ones((1, T, T), bool)).at[:, 3].set(False).at[:, 7].set(False)

    def attended(query, key, value):
        if parts == 1:
            return attend(query, key, value, mask)
        return attend_in_parts(query, key, value, mask, None, parts)

    out = attended(query, key, value)
    for row, before in ((3, T // parts), (7, T)):
        mean = value[0, :, :before].mean(axis=1)
        for head in range(H):
            np.testing.assert_allclose(out[0, head, row], mean[head * G // H], atol=1e-5)
    # A loss that leaves such rows out gives none of their gradients to any input.
    kept = jnp.ones(T).at[3].set(0).at[7].set(0)

    def loss(query, key, value, weights):
        return (attended(query, key, value) * weights[:, None]).sum()

    of_all, of_kept = (jax.grad(loss, (0, 1, 2))(query, key, value, w) for w in (jnp.ones(T), kept))
    assert all(bool(jnp.isfinite(x).all()) for x in of_all)
    assert not of_kept[0][:, :, jnp.array([3, 7])].any()
    assert of_kept[0][:, :, 5].any()

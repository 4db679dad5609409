"""Text decoding: the reference's numbers, and the algorithm told slowly."""

import functools

import golden_llada
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_text_sampler import logits_function, slow_decode

from jaxreason.models import AttentionSpec, Transformer
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.sampling.diffusion.text import diffusion_text

MASK = golden_llada.MASK
MODEL = Transformer(golden_llada.golden_config())
PROMPTS = ([7, 22, 35, 48], [3, 1, 4, 1, 5, 9, 2], [11], [40, 2])


@pytest.fixture(scope="module")
def params():
    return golden_llada.golden_params()


@pytest.fixture(scope="module")
def logits_of(params):
    return logits_function(MODEL, params)


def batch(rows, width=0, junk=0):
    """Right-padded prompts."""
    width = max(width, *(len(row) for row in rows))
    tokens = np.asarray([[*row, *[junk] * (width - len(row))] for row in rows], np.int32)
    return {"tokens": tokens, "lengths": np.asarray([len(row) for row in rows], np.int32)}


@functools.cache
def sampler(eos=None, pad=0, eot=None, samples=1, **settings):
    config = TextDiffusionConfig(**settings)
    return diffusion_text(MODEL, config, mask_id=MASK, eos=eos, eot=eot, pad=pad, samples=samples)


@pytest.mark.parametrize(
    ("block", "steps", "expected"),
    [
        (8, 8, [20, 16, 55, 16, 42, 36, 20, 41]),
        (4, 8, [20, 23, 16, 41, 36, 36, 32, 17]),
        (2, 8, [51, 41, 16, 16, 20, 20, 29, 17]),
        (8, 2, [20, 20, 16, 41, 16, 53, 20, 41]),
    ],
)
def test_greedy_decodes_are_the_references(params, block, steps, expected):
    """Made by running `generate` of github.com/ML-GSAI/LLaDA on the same weights."""
    decode = sampler(length=8, block=block, steps=steps, suppress_mask=False)
    out = decode(params, batch([[7, 22, 35, 48]]), jax.random.key(0))
    assert out.tokens[0].tolist() == expected
    assert out.steps.tolist() == [steps]
    assert np.bincount(out.order[0]).tolist() == [8 // steps] * steps


def test_the_mask_id_is_generated_only_as_the_reference_does(params):
    """With guidance, the reference leaves a mask in its result; by default none can be."""
    prompt, key = batch([[3, 1, 4, 1]]), jax.random.key(0)
    reference = sampler(length=8, guidance=1.0, suppress_mask=False)(params, prompt, key)
    assert reference.tokens[0].tolist() == [46, 46, 53, 23, MASK, 45, 18, 46]
    by_default = sampler(length=8, guidance=1.0)(params, prompt, key).tokens[0].tolist()
    assert MASK not in by_default
    assert by_default[:4] + by_default[5:] == [46, 46, 53, 23, 45, 18, 46]


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 8, "block": 4, "guidance": 0.7},
        {"length": 8, "block": 8, "steps": 3, "threshold": 0.2},
        {"length": 8, "block": 4, "threshold": 0.15, "guidance": 0.5},
    ],
)
def test_rows_of_different_length_are_decoded_as_one_alone_slowly(params, logits_of, settings):
    out = sampler(**settings)(params, batch(PROMPTS, width=9, junk=13), jax.random.key(0))
    for row, prompt in enumerate(PROMPTS):
        tokens, log_probabilities, order, steps = slow_decode(
            logits_of, prompt, MASK, banned=(MASK,), **settings
        )
        assert out.tokens[row].tolist() == tokens.tolist()
        assert out.order[row].tolist() == order.tolist()
        assert int(out.steps[row]) == steps
        np.testing.assert_allclose(out.log_probabilities[row], log_probabilities, atol=1e-4)
        assert (int(out.lengths[row]), bool(out.finished[row])) == (8, False)


def test_rows_in_mode_legacy_float_are_as_padded_rows_alone_slowly(params):
    """Padding is on the left, seen with a bias one less; positions are the row's own."""
    width, settings = 7, {"length": 4, "block": 4}

    @functools.partial(jax.jit, static_argnums=1)
    def padded_logits(tokens, mode):
        padding = width + 4 - len(tokens)
        keys = jnp.arange(width + 4)[None] >= padding
        positions = jnp.maximum(jnp.arange(width + 4) - padding, 0)[None]
        laid = jnp.pad(tokens, (padding, 0))[None]
        spec = AttentionSpec("bidirectional", keys=keys, mask_mode=mode)
        return MODEL.unembed(params, MODEL.apply(params, laid, positions, spec)[0])[0, padding:]

    def slowly(prompt, mode):
        def logits_of(tokens):
            return np.asarray(padded_logits(jnp.asarray(tokens), mode), np.float64)

        return slow_decode(logits_of, prompt, MASK, banned=(MASK,), **settings)

    decode, rows = sampler(mask_mode="legacy_float", **settings), PROMPTS[:2]
    out = decode(params, batch(rows, width), jax.random.key(0))
    for row, prompt in enumerate(rows):
        tokens, log_probabilities, order, _ = slowly(prompt, "legacy_float")
        assert out.tokens[row].tolist() == tokens.tolist()
        assert out.order[row].tolist() == order.tolist()
        np.testing.assert_allclose(out.log_probabilities[row], log_probabilities, atol=1e-4)
    otherwise = slowly(rows[0], "bool")[1]
    assert np.abs(otherwise - np.asarray(out.log_probabilities[0])).max() > 1e-3


def test_an_end_token_can_be_banned_or_kept_last(params, logits_of):
    """Whatever the model likes to write is made the end token."""
    settings, prompts = {"length": 8, "block": 8}, batch(PROMPTS)
    free = sampler(**settings)(params, prompts, jax.random.key(0))
    eos, eot = (int(i) for i in np.argsort(-np.bincount(np.ravel(free.tokens), minlength=60))[:2])
    for name in ("ban_eos", "defer_eos"):
        out = sampler(eos=eos, eot=eot, **{name: True}, **settings)(
            params, prompts, jax.random.key(0)
        )
        changed = False
        for row, prompt in enumerate(PROMPTS):
            tokens, _, order, _ = slow_decode(
                logits_of,
                prompt,
                MASK,
                banned=(MASK, eos) if name == "ban_eos" else (MASK,),
                deferred=(eos, eot) if name == "defer_eos" else (),
                **settings,
            )
            length = int(out.lengths[row])
            assert out.tokens[row, :length].tolist() == tokens[:length].tolist()
            assert out.order[row, :length].tolist() == order[:length].tolist()
            changed |= tokens.tolist() != free.tokens[row].tolist()
        assert changed


def test_a_row_ends_with_its_end_token_and_stops_costing(params):
    settings, prompts, key = {"length": 12, "block": 2}, batch(PROMPTS), jax.random.key(0)
    free = sampler(**settings)(params, prompts, key)
    eos = int(free.tokens[0, 2])
    out = sampler(eos=eos, pad=eos, **settings)(params, prompts, key)
    thorough = sampler(eos=eos, pad=eos, stop_early=False, **settings)(params, prompts, key)
    assert thorough.steps.tolist() == [12] * 4
    for row in range(4):
        written = free.tokens[row].tolist()
        length = written.index(eos) + 1 if eos in written else 12
        assert int(out.lengths[row]) == length
        assert bool(out.finished[row]) == (eos in written)
        assert out.tokens[row].tolist() == written[:length] + [eos] * (12 - length)
        assert np.all(np.asarray(out.log_probabilities[row, length:]) == 0)
        # Beyond its end only padding that the row wrote before it ended was revealed.
        early = np.asarray(out.order[row, length:])
        assert np.all((early == -1) | (np.array(written[length:]) == eos))
        assert np.all(early <= np.max(out.order[row, :length]))
        assert np.all(np.asarray(out.order[row, :length]) >= 0)
        # The row is left in the step that settles everything up to its end.
        assert int(out.steps[row]) == np.max(out.order[row]) + 1
    assert int(out.steps[0]) <= 4
    for name in ("tokens", "log_probabilities", "order", "lengths", "finished"):
        np.testing.assert_array_equal(getattr(out, name), getattr(thorough, name))


@pytest.mark.parametrize("remasking", ["low_confidence", "random"])
def test_drawn_rows_do_not_depend_on_the_other_rows_nor_on_padding(params, remasking):
    """A row keeps its random numbers as long as it keeps its index."""
    draw = sampler(length=8, block=4, steps=4, temperature=0.8, remasking=remasking)
    key = jax.random.key(3)
    together = draw(params, batch(PROMPTS, width=9), key)
    junk = draw(params, batch(PROMPTS, width=9, junk=33), key)
    alone = draw(params, batch(PROMPTS[:1]), key)
    for name in ("tokens", "order", "steps"):
        np.testing.assert_array_equal(getattr(junk, name), getattr(together, name))
        np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[0])
    np.testing.assert_allclose(alone.log_probabilities[0], together.log_probabilities[0], atol=1e-5)
    other = draw(params, batch(PROMPTS, width=9), jax.random.key(4))
    assert not np.array_equal(other.tokens, together.tokens)


def test_random_remasking_keeps_every_place_equally_often(params):
    """One token of four per step: the step of a place is uniform over the four."""
    draw = sampler(length=4, remasking="random", samples=600)
    out = draw(params, batch([[7, 22]]), jax.random.key(1))
    table = np.stack([np.bincount(out.order[:, place], minlength=4) for place in range(4)])
    assert table.sum(axis=0).tolist() == [600] * 4
    statistic = ((table - 150) ** 2 / 150).sum()
    assert statistic < 9 + 5 * np.sqrt(18)


def test_drawn_tokens_follow_the_tempered_distribution(params, logits_of):
    """Chi-square of 4,000 draws of one token against softmax(logits / 1.5), mask excluded."""
    prompt = [5, 6, 7]
    draw = sampler(length=1, temperature=1.5, samples=4000)
    out = draw(params, batch([prompt]), jax.random.key(5))
    logits = logits_of([*prompt, MASK])[-1][:MASK]
    expected = 4000 * np.asarray(jax.nn.softmax(logits / 1.5))
    counts = np.bincount(out.tokens[:, 0], minlength=60)
    assert counts[MASK] == 0
    common = expected >= 5
    observed = np.append(counts[:MASK][common], counts[:MASK][~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    statistic = np.sum((observed - wanted) ** 2 / np.maximum(wanted, 1e-9))
    assert statistic < common.sum() + 4 * np.sqrt(2 * common.sum())
    log_p = np.asarray(jax.nn.log_softmax(logits))
    np.testing.assert_allclose(
        out.log_probabilities[:, 0], log_p[np.asarray(out.tokens[:, 0])], atol=1e-4
    )


def test_thresholds_at_their_ends(params):
    """Above 1 a step keeps one token; at 0 a block takes one step."""
    prompts, key = batch(PROMPTS), jax.random.key(0)
    one_each = sampler(length=8, block=4)(params, prompts, key)
    never = sampler(length=8, block=4, threshold=1.5)(params, prompts, key)
    for name in ("tokens", "order", "steps"):
        np.testing.assert_array_equal(getattr(never, name), getattr(one_each, name))
    always = sampler(length=8, block=4, threshold=0.0)(params, prompts, key)
    assert always.steps.tolist() == [2] * 4
    assert always.order[0].tolist() == [0] * 4 + [1] * 4


def test_sampling_is_one_program_and_composes_with_jit(params):
    decode, prompts = sampler(length=8, block=4), batch(PROMPTS)
    inside = jax.jit(decode)(params, jax.tree.map(jnp.asarray, prompts), jax.random.key(0))
    np.testing.assert_array_equal(inside.tokens, decode(params, prompts, jax.random.key(0)).tokens)

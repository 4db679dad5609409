"""Evidence bounds and diffused texts, beside sums over every mask and the sampler itself."""

import itertools
import math

import jax
import numpy as np
import pytest
from tiny_models import tiny_config, tiny_params
from tiny_tokenizers import write_tiny_tokenizer

from jaxreason.errors import InputError
from jaxreason.evaluation.harness import HarnessModel, HarnessSettings, load_harness
from jaxreason.evaluation.harness_diffusion import draw_masks
from jaxreason.evaluation.harness_diffusion_text import DiffusionSettings
from jaxreason.evaluation.harness_text import Pair
from jaxreason.models import AttentionSpec
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.weights.llada import export_llada
from jaxreason.weights.llada_settings import LladaMetadata

MASK, EOS, EOT = 299, 295, 298


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny LLaDA folder, loaded as any other."""
    folder = tmp_path_factory.mktemp("llada") / "model"
    config = tiny_config("llama", layers=1, kv_heads=4, attention="bidirectional")
    metadata = LladaMetadata("full", None, 0, MASK, EOS, EOT)
    export_llada(tiny_params(config), folder, config, metadata=metadata)
    write_tiny_tokenizer(folder, chat="llada")
    settings = HarnessSettings(
        batch_size=4, max_length=32, diffusion=DiffusionSettings(draws=7, block=4)
    )
    return load_harness(folder, settings)


def asked(model, **diffusion):
    """The same loaded model with other settings."""
    chosen = DiffusionSettings(**{"draws": 7, "block": 4, **diffusion})
    settings = HarnessSettings(batch_size=4, max_length=32, diffusion=chosen)
    return HarnessModel(model.run, model.tokenizer, settings)


@pytest.fixture(scope="module")
def scores(model):
    """log p at every place and id, of an input computed at one width."""
    spec, run = AttentionSpec, model.run

    @jax.jit
    def program(params, tokens, keys):
        hidden, _ = run.model.apply(params, tokens, attention=spec("bidirectional", keys=keys))
        return jax.nn.log_softmax(run.model.unembed(params, hidden), axis=-1)

    def of(ids):
        tokens, keys = np.zeros((1, 32), np.int32), np.arange(32)[None] < len(ids)
        tokens[0, : len(ids)] = ids
        return np.asarray(program(run.params, tokens, keys), np.float64)[0, : len(ids)]

    return of


def brute_bound(scores, context, continuation):
    """The mean over k of the mean over sets of k masked tokens of n / k times their log p."""
    n, ids, total = len(continuation), np.array([*context, *continuation]), 0.0
    for k in range(1, n + 1):
        for chosen in itertools.combinations(range(n), k):
            places = len(context) + np.array(chosen)
            noisy = ids.copy()
            noisy[places] = MASK
            total += scores(noisy)[places, ids[places]].sum() * n / k / n / math.comb(n, k)
    return total


PAIRS = [
    Pair((5, 17, 80), (9, 44, 120)),
    Pair((5, 17, 80), (9,)),
    Pair((7, 8, 9, 10, 11), (200, 3)),
    Pair((294,), (33, 34, 35)),
]


def test_bounds_of_short_continuations_are_exact(model, scores):
    found = model._score(PAIRS)
    for pair, (nats, _) in zip(PAIRS, found, strict=True):
        assert abs(nats - brute_bound(scores, *pair)) < 1e-4


def test_longer_ones_are_estimated_and_the_estimate_comes_closer(model, scores):
    pair = Pair((5, 17, 80), (9, 44, 120, 60, 61))
    exact = brute_bound(scores, *pair)
    [(few, _)] = model._score([pair])
    [(many, _)] = asked(model, draws=30, check_greedy=False)._score([pair])
    assert few != pytest.approx(exact, abs=1e-6)
    assert many == pytest.approx(exact, rel=0.03)
    assert model._score([pair])[0][0] == few  # the same masks again


def test_drawn_masks_average_to_the_exact_weights():
    """Every token weighs one, and pairs are masked together as often as in all sets."""

    def moments(masks):
        weighted = masks.masked * masks.weights[:, None]
        return weighted.sum(axis=0), weighted.T @ masks.masked

    n = 5
    exact = moments(draw_masks(n, 31, (0,)))
    np.testing.assert_allclose(exact[0], 1.0)
    drawn = [moments(draw_masks(n, 30, (seed,))) for seed in range(400)]
    for place in range(2):
        mean = np.mean([each[place] for each in drawn], axis=0)
        np.testing.assert_allclose(mean, exact[place], atol=0.05)
    assert draw_masks(4, 15, (0,)).masked.shape == (15, 4)
    assert draw_masks(40, 16, (0,)).masked.shape == (16, 40)


def test_greedy_is_what_decoding_the_surest_token_first_gives(model, scores):
    context, n = (5, 17, 80), 3
    ids = np.array([*context, *[MASK] * n])
    while (ids == MASK).any():
        found = scores(ids)
        masked = np.flatnonzero(ids == MASK)
        best = masked[found[masked].max(axis=1).argmax()]
        ids[best] = found[best].argmax()
        assert ids[best] != MASK
    right = Pair(context, tuple(ids[len(context) :].tolist()))
    wrong = Pair(context, (*right.continuation[:-1], (right.continuation[-1] + 1) % 290))
    assert [same for _, same in model._score([right, wrong])] == [True, False]
    assert [same for _, same in asked(model, check_greedy=False)._score([right])] == [False]


def test_texts_are_those_of_the_sampler_whatever_the_batch(model):
    contexts = ("What is 2+3?", "The cat sat on", "x")
    found = model.generate_until([(text, {"max_gen_toks": 7}) for text in contexts])
    config = model.settings.diffusion.text(7)
    assert config.length == 8
    sampler = diffusion_text(
        model.run.model, config, mask_id=MASK, eos=EOS, eot=EOT, pad=EOS, samples=1
    )
    for text, answer in zip(contexts, found, strict=True):
        ids = np.array(model.rules.prompt(text, 7), np.int32)
        prompts = {"tokens": ids[None], "lengths": np.array([len(ids)], np.int32)}
        drawn = sampler(model.run.params, prompts, jax.random.key(5))
        kept = np.asarray(drawn.tokens)[0, : int(drawn.lengths[0])][:7]
        kept = kept[~np.isin(kept, [EOS, EOT])]
        assert answer == model.tokenizer.decode(kept)
    assert any(found)
    stop = next(answer for answer in found if len(answer) > 2)[1]
    cut = model.generate_until([(t, {"max_gen_toks": 7, "until": stop}) for t in contexts])
    assert cut == [answer.split(stop)[0] for answer in found]


def test_rolling_bounds_are_sums_over_windows(model):
    text = "The cat sat on the mat while the dog was in the garden."
    [found] = asked(model, check_greedy=False).loglikelihood_rolling([text])
    windows = model.rules.windows(text)
    assert len(windows) > 1
    assert found == pytest.approx(sum(nats for nats, _ in model._score(windows, greedy=False)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"draws": 0}, "draws is 0; expected at least 1"),
        ({"tokens_per_step": 3}, "tokens_per_step is 3, which does not divide block"),
        ({"remasking": "x"}, "remasking is 'x'; expected one of"),
    ],
)
def test_settings_that_cannot_be(fields, said):
    with pytest.raises(InputError, match=said):
        DiffusionSettings(**fields)


def test_diffusion_samples_without_a_nucleus(model):
    with pytest.raises(InputError, match=r"top_p is 0\.9 and top_k None; diffusion"):
        model.generate_until([("x", {"top_p": 0.9, "temperature": 1.0, "max_gen_toks": 4})])

"""Answers to the harness's requests, beside the same computed one token at a time."""

import jax
import numpy as np
import pytest
from tiny_models import write_tiny_model

from jaxreason.errors import InputError
from jaxreason.evaluation.harness import HarnessModel, HarnessSettings, load_harness
from jaxreason.sharding.mesh import MeshConfig, make_mesh

REQUESTS = [
    ("What is 2+3? ", "five"),
    ("What is 2+3?", " A"),
    ("What is 2+3?", " B"),
    ("", "The cat"),
    ("She has ten apples", " and gives four to him."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("harness") / "model"
    write_tiny_model(folder, layers=1)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load_harness(folder, HarnessSettings(batch_size=4, max_gen_toks=12))


def asked(model, **settings):
    """The same loaded model with other settings."""
    chosen = HarnessSettings(**{"batch_size": 4, "max_gen_toks": 12, **settings})
    return HarnessModel(model.run, model.tokenizer, chosen)


@pytest.fixture(scope="module")
def logits(model):
    """Logits after some ids, computed alone at one width."""
    apply = jax.jit(lambda params, tokens: model.run.model.apply(params, tokens)[0])

    def of(ids):
        padded = np.zeros((1, 64), np.int32)
        padded[0, : len(ids)] = ids
        hidden = apply(model.run.params, padded)[0, : len(ids)]
        return np.asarray(model.run.model.unembed(model.run.params, hidden), np.float64)

    return of


def expected(logits, context, continuation):
    ids = [*context, *continuation]
    rows = logits(ids[:-1])[len(context) - 1 :]
    normalised = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    chosen = normalised[np.arange(len(rows)), continuation]
    return chosen.sum(), (rows.argmax(axis=1) == continuation).all()


def test_log_probabilities_are_sums_over_the_continuation(model, logits):
    greedy = model.generate_until([("What is 2+3?", {"max_gen_toks": 3})])[0]
    found = model.loglikelihood([*REQUESTS, ("What is 2+3?", greedy)])
    for request, (nats, same) in zip(REQUESTS, found, strict=False):
        wanted, exact = expected(logits, *model.rules.pair(*request))
        assert abs(nats - wanted) < 1e-4
        assert same == exact
    context, continuation = model.rules.pair("What is 2+3?", greedy)
    assert found[-1][1] == expected(logits, context, continuation)[1]


def test_the_greedy_continuation_is_known_as_such(model, logits):
    context = model.rules.encode("What is 2+3?")
    ids = list(context)
    for _ in range(3):
        ids.append(int(logits(ids)[-1].argmax()))
    pair = type(model.rules.pair("a", "b"))(tuple(context), tuple(ids[len(context) :]))
    other = pair._replace(continuation=(*pair.continuation[:-1], (pair.continuation[-1] + 1) % 300))
    (_, yes), (_, no) = model._score([pair, other])
    assert yes
    assert not no


def test_scores_do_not_depend_on_batches_nor_order(model):
    found = model.loglikelihood(REQUESTS)
    for size, order in ((1, [4, 2, 0, 1, 3]), (8, [1, 0, 3, 4, 2])):
        again = asked(model, batch_size=size).loglikelihood([REQUESTS[i] for i in order])
        np.testing.assert_allclose(
            [nats for nats, _ in again], [found[i][0] for i in order], rtol=1e-5
        )


def test_a_context_that_is_too_long_loses_its_beginning(model, logits):
    short = asked(model, max_length=10)
    [(nats, _)] = short.loglikelihood([("She has ten apples and gives four away.", " Now")])
    context, continuation = short.rules.pair("She has ten apples and gives four away.", " Now")
    kept = (*context, *continuation)[-11:]
    split = len(kept) - len(continuation)
    assert abs(nats - expected(logits, kept[:split], kept[split:])[0]) < 1e-4


def test_rolling_scores_are_those_of_the_windows(model, logits):
    text = "The cat sat on the mat."
    short = asked(model, max_length=10)
    whole, parts = model.loglikelihood_rolling([text])[0], short.loglikelihood_rolling([text, "x"])
    ids = model.tokenizer.encode(text).tolist()
    assert abs(whole - expected(logits, [model.rules.prefix_id], ids)[0]) < 1e-4
    windows = [expected(logits, *window)[0] for window in short.rules.windows(text)]
    assert len(windows) > 1
    assert abs(parts[0] - sum(windows)) < 1e-4
    assert abs(whole - parts[0]) > 1e-3


def continued(model, logits, text, count):
    ids = list(model.rules.encode(text))
    start = len(ids)
    while len(ids) < start + count:
        ids.append(int(logits(ids)[-1].argmax()))
        if ids[-1] in model.tokenizer.stops:
            return ids[start:-1]
    return ids[start:]


CONTEXTS = ("What is 2+3?", "The cat", "x", "She has ten apples and", "A train")


def test_greedy_texts_are_those_of_one_token_at_a_time(model, logits):
    found = model.generate_until([(text, {}) for text in CONTEXTS])
    for text, answer in zip(CONTEXTS, found, strict=True):
        assert answer == model.tokenizer.decode(continued(model, logits, text, 12))


def test_texts_end_before_a_stop(model):
    whole = model.generate_until([(text, {"max_gen_toks": 40}) for text in CONTEXTS])
    stop = next(answer for answer in whole if len(answer) > 4)[2:4]
    cut = model.generate_until([(t, {"until": [stop], "max_gen_toks": 40}) for t in CONTEXTS])
    assert cut == [answer.split(stop)[0] for answer in whole]
    assert cut != whole


def test_stop_ids_end_texts(model, logits):
    [first] = continued(model, logits, CONTEXTS[0], 1)
    other = asked(model)
    # The model's own stops do not hold it: a base model whose template ends turns with it.
    other.tokenizer = _WithStops(model.tokenizer, (*model.tokenizer.stops, first))
    assert other.generate_until([(CONTEXTS[0], {})]) == [""]
    assert model.generate_until([(CONTEXTS[0], {})]) != [""]


class _WithStops:
    """A tokenizer with other stops in conversations."""

    def __init__(self, tokenizer, stops):
        self._tokenizer, self.chat_stops = tokenizer, stops

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


def test_samples_depend_on_the_seed_and_not_on_batches(model):
    wanted = {"temperature": 1.0, "top_p": 0.95}
    asked_for = [(text, wanted) for text in CONTEXTS]
    found = model.generate_until(asked_for)
    assert asked(model, batch_size=2).generate_until(asked_for) == found
    assert asked(model, seed=1).generate_until(asked_for) != found
    seeded = [(text, {**wanted, "seed": 1}) for text in CONTEXTS]
    assert model.generate_until(seeded) == asked(model, seed=1).generate_until(asked_for)


def test_a_mesh_gives_the_same(folder, model):
    mesh = make_mesh(MeshConfig(fsdp=2), jax.devices()[:2])
    spread = load_harness(folder, HarnessSettings(batch_size=4, max_gen_toks=12), mesh=mesh)
    np.testing.assert_allclose(
        [nats for nats, _ in spread.loglikelihood(REQUESTS)],
        [nats for nats, _ in model.loglikelihood(REQUESTS)],
        rtol=1e-4,
    )
    requests = [(text, {}) for text in CONTEXTS]
    assert spread.generate_until(requests) == model.generate_until(requests)
    with pytest.raises(InputError, match="batch_size is 3; the mesh splits rows 2 ways"):
        load_harness(folder, HarnessSettings(batch_size=3), mesh=mesh)


def test_conversations_are_rendered_by_the_template(model):
    messages = [{"role": "user", "content": "hi"}]
    assert model.render(messages).endswith("<|im_start|>assistant\n")
    answer = [*messages, {"role": "assistant", "content": "The answer is"}]
    assert model.render(answer, prompt=False).endswith("assistant\nThe answer is")


def test_what_cannot_be_asked(folder, model, tmp_path):
    with pytest.raises(InputError, match="batch_size is 0"):
        HarnessSettings(batch_size=0)
    write_tiny_model(tmp_path / "bare", layers=1, tokenizer=False)
    with pytest.raises(InputError, match="has no tokenizer; give the folder"):
        load_harness(tmp_path / "bare")
    assert load_harness(tmp_path / "bare", tokenizer=folder).rules.max_length == 512
    write_tiny_model(tmp_path / "small", layers=1, vocabulary_size=299)
    with pytest.raises(InputError, match="the tokenizer has 300 ids and the model 299"):
        load_harness(tmp_path / "small")

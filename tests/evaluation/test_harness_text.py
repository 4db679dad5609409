"""Requests as ids: which tokens are scored, what is cut, what generation settings mean."""

import numpy as np
import pytest
from tiny_tokenizers import write_tiny_tokenizer

from jaxreason.errors import InputError
from jaxreason.evaluation.harness_batches import batches, bucket
from jaxreason.evaluation.harness_text import GenerationSettings, TextRules, generation_settings
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    found = {}
    for chat in ("qwen", "llama3"):
        folder = tmp_path_factory.mktemp(chat)
        write_tiny_tokenizer(folder, chat=chat)
        found[chat] = PretrainedTokenizer(folder)
    return found


@pytest.fixture(scope="module")
def qwen(tokenizers):
    return TextRules(tokenizers["qwen"], 64)


@pytest.fixture(scope="module")
def llama(tokenizers):
    return TextRules(tokenizers["llama3"], 64)


def test_spaces_at_the_end_of_a_context_belong_to_what_follows(qwen):
    assert qwen.pair("How many ", "apples") == qwen.pair("How many", " apples")
    context, continuation = qwen.pair("How many ", "apples")
    assert qwen.tokenizer.decode(context) == "How many"
    assert qwen.tokenizer.decode(continuation) == " apples"


def test_a_text_without_context_begins_with_the_prefix(qwen, llama):
    assert qwen.pair("", "hi").context == (qwen.tokenizer.eos,)  # it has no bos
    assert llama.pair("", "hi").context == (llama.tokenizer.bos,)
    assert llama.pair("", "hi").continuation == tuple(llama.tokenizer.encode("hi"))
    written = llama.pair("", "<|begin_of_text|>hi")
    assert written == llama.pair("", "hi")
    assert TextRules(qwen.tokenizer, 64, prefix=7).pair("", "hi").context == (7,)


def test_special_tokens_are_there_once(llama):
    bos = llama.tokenizer.bos
    assert llama.encode("hi")[0] == bos
    assert llama.encode("<|begin_of_text|>hi") == llama.encode("hi")
    bare = TextRules(llama.tokenizer, 64, add_bos=False)
    assert bos not in bare.encode("hi")


def test_a_continuation_has_tokens_and_room(qwen):
    with pytest.raises(InputError, match="has no tokens of its own"):
        qwen.pair("context", "")
    with pytest.raises(InputError, match="has 100 tokens, and the model sees 64"):
        qwen.pair("context", " ~" * 50)
    with pytest.raises(InputError, match="max_length is 1"):
        TextRules(qwen.tokenizer, 1)


def test_windows_predict_every_token_once_with_as_much_before_it_as_fits(qwen):
    """The example of the harness's documentation, ids 0..9 and a length of 4."""
    ids = list(range(10))

    class Ten(TextRules):
        def encode(self, text):
            return ids

    rules = Ten(qwen.tokenizer, 4, prefix=99)
    windows = rules.windows("")
    rows = [((*w.context, *w.continuation)[:-1], w.continuation) for w in windows]
    assert rows == [
        ((99, 0, 1, 2), (0, 1, 2, 3)),
        ((3, 4, 5, 6), (4, 5, 6, 7)),
        ((5, 6, 7, 8), (8, 9)),
    ]
    ids.clear()
    assert rules.windows("") == []


def test_a_prompt_loses_its_beginning(qwen):
    whole = qwen.encode("one two three four five six")
    assert qwen.prompt("one two three four five six", 60) == tuple(whole[-4:])
    assert qwen.prompt("", 60) == (qwen.tokenizer.eos,)
    with pytest.raises(InputError, match="max_gen_toks is 64, and the model sees 64"):
        qwen.prompt("one", 64)


def test_generation_settings():
    assert generation_settings({}, 9) == GenerationSettings((), 9)
    given = {"until": "\n", "max_new_tokens": 5, "do_sample": False, "temperature": 0.7}
    assert generation_settings(given, 9) == GenerationSettings(("\n",), 5)
    sampled = {"until": ["a", ""], "temperature": 0.7, "top_p": 0.9, "top_k": 0, "seed": 3}
    assert generation_settings(sampled, 9) == GenerationSettings(("a",), 9, 0.7, 0.9, None, 3)
    assert generation_settings({"num_beams": 1, "max_gen_toks": None}, 9).new_tokens == 9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"num_beams": 4}, "num_beams=4 is not known"),
        ({"repetition_penalty": 1.1}, "repetition_penalty=1.1 is not known"),
        ({"max_length": 7}, "max_length=7 is not known"),
        ({"do_sample": True}, "do_sample is true and temperature 0"),
        ({"until": [3]}, "expected texts"),
        ({"until": 3}, "until is 3; expected texts"),
        ({"max_gen_toks": 0}, "max_gen_toks is 0; expected at least 1"),
        ({"max_gen_toks": 8.5}, "max_gen_toks is 8.5; expected a whole number or none"),
        ({"max_new_tokens": "few"}, "max_new_tokens is 'few'; expected a whole number"),
        ({"temperature": "warm"}, "temperature is 'warm'; expected a number"),
        ({"temperature": float("nan")}, "temperature is nan; expected a number"),
        ({"temperature": -1}, "temperature is -1; expected at least 0"),
        ({"do_sample": "no"}, "do_sample is 'no'; expected true or false"),
        ({"top_p": 0}, "top_p is 0; expected above 0, and 1 at most"),
        ({"top_p": True}, "top_p is True; expected a number"),
        ({"top_k": -1}, "top_k is -1; expected at least 0"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number"),
    ],
)
def test_generation_settings_that_are_not_known(given, said):
    with pytest.raises(InputError, match=said):
        generation_settings(given, 9)


def test_an_answer_ends_before_the_first_stop_and_begins_after_the_reasoning():
    plain = GenerationSettings(("\n", "Q:"), 9)
    assert plain.answer("six Q: more\n") == "six "
    assert plain.complete("six Q: more")
    assert not plain.complete("six")
    thinking = GenerationSettings(("\n",), 9, after="</think>")
    assert thinking.answer("so\nwell</think>\n six\nQ") == "six"
    assert not thinking.complete("so\nwell")
    assert not thinking.complete("so\nwell</think>\n\nsix")
    assert thinking.complete("so\nwell</think>\n\nsix\n")


def test_batches_have_few_shapes_and_the_longest_first():
    assert [bucket(n) for n in (1, 32, 33, 48, 49, 65, 97, 129, 200)] == [
        *(32, 32, 48, 48, 64, 96, 128, 192, 256)
    ]
    lengths = np.random.default_rng(0).integers(1, 150, 50).tolist()
    sequences = [list(range(n)) for n in lengths]
    found = list(batches(sequences, 8, 130))
    assert sorted(place for rows in found for place in rows.places) == list(range(50))
    assert {rows.tokens.shape[0] for rows in found} == {8}
    widths = [rows.tokens.shape[1] for rows in found]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == max(lengths)  # longer than the limit by itself, and not cut here
    for rows in found:
        for row, place in enumerate(rows.places):
            assert rows.tokens[row, : rows.lengths[row]].tolist() == sequences[place]

"""Tokenizer files: what they encode, and the errors without file, library or tokens."""

import sys

import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.text_tokenizer import TokenizerFile, mmada_ids_of


def write_tokenizer(path, tokens):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[unk]": 0, "two": 1, "words": 2}, unk_token="[unk]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(tokens))
    tokenizer.save(str(path))
    return TokenizerFile(path)


def test_texts_become_ids_with_the_special_tokens_they_spell(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "t.json", ["<|eot_id|>"])
    assert tokenizer.encode("two words<|eot_id|>two").tolist() == [1, 2, 3, 1]
    assert tokenizer.decode([1, 2, 3]) == "two words"
    assert (tokenizer.size, tokenizer.id("<|eot_id|>")) == (4, 3)
    other = write_tokenizer(tmp_path / "other.json", ["<|eot_id|>", "x"])
    assert tokenizer.identity != other.identity
    with pytest.raises(InputError, match=r"start_header_id.*is not in"):
        tokenizer.id("<|start_header_id|>")


HEADERS = {
    126080: "<|startoftext|>",
    126346: "<|start_header_id|>",
    126347: "<|end_header_id|>",
    126348: "<|eot_id|>",
}


@pytest.mark.parametrize("size", [126_349, 126_352])
def test_image_ids_begin_after_the_tokenizer(tmp_path, size):
    tokenizers = pytest.importorskip("tokenizers")
    words = {HEADERS.get(number, f"w{number}"): number for number in range(size)}
    model = tokenizers.models.WordLevel(words, unk_token="w0")
    tokenizers.Tokenizer(model).save(str(tmp_path / "t.json"))
    assert mmada_ids_of(TokenizerFile(tmp_path / "t.json")).image_ids([0]).tolist() == [size]


def test_another_tokenizer_is_not_taken_for_the_one_of_mmada(tmp_path):
    tokenizer = write_tokenizer(tmp_path / "t.json", ["<|startoftext|>"])
    with pytest.raises(InputError, match=r"has the id 3 in .*expected 126080 as bos"):
        mmada_ids_of(tokenizer)
    with pytest.raises(InputError, match=r"startoftext.* is not in"):
        mmada_ids_of(write_tokenizer(tmp_path / "bare.json", []))


def test_what_is_no_tokenizer_file(tmp_path):
    pytest.importorskip("tokenizers")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(FailureError, match="is no tokenizer file"):
        TokenizerFile(tmp_path / "bad.json")
    with pytest.raises(FailureError, match="cannot be read"):
        TokenizerFile(tmp_path / "none.json")


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'jaxreason\[hf\]'"):
        TokenizerFile("tokenizer.json")

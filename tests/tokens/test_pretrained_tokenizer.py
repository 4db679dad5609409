"""Ids and texts of pretrained folders: as transformers gives them, whatever form the files have."""

import json

import golden_chats
import numpy as np
import pytest
from tiny_tokenizers import STYLES, write_tiny_tokenizer

from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

GOLDEN = golden_chats.golden()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """The tokenizer of each style."""
    found = {}
    for style in STYLES:
        folder = tmp_path_factory.mktemp(style)
        write_tiny_tokenizer(folder, chat=style)
        found[style] = PretrainedTokenizer(folder)
    return found


def changed(folder, chat="qwen", drop=(), **fields):
    """A tokenizer whose configuration has other fields."""
    write_tiny_tokenizer(folder, chat=chat)
    path = folder / "tokenizer_config.json"
    config = {k: v for k, v in json.loads(path.read_text()).items() if k not in drop}
    path.write_text(json.dumps(config | fields))
    return PretrainedTokenizer(folder)


@pytest.mark.parametrize("style", STYLES)
def test_ids_and_texts_are_those_of_transformers(tokenizers, style):
    tokenizer, golden = tokenizers[style], GOLDEN[style]
    assert tokenizer.size == golden["size"]
    for i, text in enumerate(golden_chats.TEXTS):
        ids = tokenizer.encode(text)
        assert ids.dtype == np.int32
        assert ids.tolist() == golden["ids"][i]
        assert tokenizer.encode(text, special=True).tolist() == golden["special_ids"][i]
        assert tokenizer.decode(ids, skip_special=False) == golden["decoded"][i]
        assert tokenizer.decode(ids) == golden["skipped"][i]


@pytest.mark.parametrize("style", [s for s in STYLES if s != "none"])
def test_conversations_are_rendered_as_by_transformers(tokenizers, style):
    for chat, option in golden_chats.cases():
        expected = GOLDEN[style]["chats"][f"{chat} {option}"]
        options = golden_chats.OPTIONS[option]
        if expected is None:
            with pytest.raises(InputError):
                tokenizers[style].render(golden_chats.CHATS[chat], **options)
        else:
            assert tokenizers[style].render(golden_chats.CHATS[chat], **options) == expected


@pytest.mark.parametrize("style", ["generation", "deepseek"])
def test_marked_tokens_are_those_of_transformers(tokenizers, style):
    tokens, assistant = tokenizers[style].encode_training_chat(golden_chats.CHATS["turns"])
    assert [tokens.tolist(), assistant.astype(int).tolist()] == GOLDEN[style]["learned"]


def test_special_tokens(tokenizers):
    qwen, llama = tokenizers["qwen"], tokenizers["llama3"]
    assert (qwen.bos, qwen.eos, qwen.pad) == (None, 297, 295)
    assert qwen.stops == (qwen.id("<|im_end|>"),)
    assert (llama.bos, llama.eos) == (294, 299)
    assert llama.pad == llama.eos  # it has none of its own
    with pytest.raises(InputError, match="'<nothing>' is not in"):
        qwen.id("<nothing>")


@pytest.mark.parametrize(("given", "more"), [(295, (295,)), ([297, 295, 3], (295, 3)), ([], ())])
def test_every_id_that_ends_a_generation_is_a_stop(tmp_path, given, more):
    write_tiny_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": given}))
    assert PretrainedTokenizer(tmp_path).stops == (297, *more)


@pytest.mark.parametrize(
    ("style", "ends"),
    [("qwen", "<|im_end|>"), ("generation", "<|im_end|>"), ("llama3", "<|eot_id|>"), ("none", "")],
)
def test_what_the_template_ends_a_turn_with_ends_a_generation_in_chats(tmp_path, style, ends):
    eos = "<|end_of_text|>" if style == "llama3" else "<|endoftext|>"  # as base models have it
    tokenizer = changed(tmp_path, style, eos_token=eos)
    assert tokenizer.stops == tokenizer.stops_for("plain") == (tokenizer.id(eos),)
    more = (tokenizer.id(ends),) if ends else ()
    assert tokenizer.chat_stops == tokenizer.stops_for("chat") == (tokenizer.id(eos), *more)


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        ("{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}", ["<|im_start|>"]),
        ("{% for m in messages %}{{ m.content }} \n<|im_end|>{% endfor %}", ["<|im_end|>"]),
        ("{% for m in messages %}{{ m.content }}<tool_call>{% endfor %}", []),
        ("{% for m in messages %}{{ m.content }}.<|im_end|>{% endfor %}", []),
        ("{% for m in messages %}{{ m.role }}<|im_end|>{% endfor %}", []),
        ("{{ raise_exception('only tools') }}", []),
    ],
)
def test_only_a_special_token_right_after_the_answer_ends_it(tmp_path, template, ends):
    changed(tmp_path, eos_token="<|endoftext|>")
    (tmp_path / "chat_template.jinja").write_text(template)
    tokenizer = PretrainedTokenizer(tmp_path)
    assert tokenizer.chat_stops == (tokenizer.eos, *map(tokenizer.id, ends))


def test_nothing_after_the_end_of_a_turn_is_learnt(tmp_path):
    tokenizer = changed(tmp_path, eos_token="<|endoftext|>")
    tokens, assistant = tokenizer.encode_training_chat(golden_chats.CHATS["turns"])
    after = np.flatnonzero(tokens == tokenizer.id("<|im_end|>"))[1:] + 1
    assert assistant[after - 1].any()
    assert not assistant[after[after < len(tokens)]].any()
    assert not assistant[-1]  # the line break


def test_tokens_as_objects_in_older_files(tmp_path):
    eos = {"__type": "AddedToken", "content": "<|im_end|>", "lstrip": False, "rstrip": False}
    assert changed(tmp_path, eos_token=eos).eos == 297
    legacy = changed(tmp_path / "map", drop=("added_tokens_decoder", "eos_token"))
    assert legacy.eos is None
    special = {"eos_token": {"content": "<|im_end|>"}}
    (tmp_path / "map" / "special_tokens_map.json").write_text(json.dumps(special))
    assert PretrainedTokenizer(tmp_path / "map").eos == 297


def test_tokens_that_only_the_configuration_has_are_added(tmp_path):
    tokenizer = changed(tmp_path, pad_token="<pad>", extra_special_tokens=["<extra>"])
    assert (tokenizer.size, tokenizer.pad) == (302, 300)
    assert tokenizer.encode("a<extra>b<pad>").tolist()[1::2] == [301, 300]
    assert tokenizer.decode([301, 64, 300]) == tokenizer.decode([64])


def test_special_tokens_can_be_ordinary_text(tmp_path):
    split = changed(tmp_path, split_special_tokens=True)
    assert 297 not in split.encode("a<|im_end|>")
    assert split.decode(split.encode("a<|im_end|>")) == "a<|im_end|>"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"added_tokens_decoder": {"7": {"content": "<|im_end|>"}}}, "id 297 in .* and 7 in"),
        ({"added_tokens_decoder": {"x": {"content": "<|im_end|>"}}}, "expected ids and tokens"),
        ({"added_tokens_decoder": []}, "added_tokens_decoder .*expected an object"),
        ({"eos_token": 5}, "eos_token 5; expected a token"),
        ({"split_special_tokens": "no"}, "split_special_tokens 'no'; expected true or false"),
        ({"extra_special_tokens": 3}, "extra_special_tokens 3; expected a list"),
    ],
)
def test_a_field_that_cannot_be_is_named(tmp_path, fields, said):
    with pytest.raises(FailureError, match=said):
        changed(tmp_path, **fields)


def test_what_is_no_tokenizer_folder(tmp_path):
    with pytest.raises(FailureError, match=r"no tokenizer\.json; with transformers"):
        PretrainedTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    with pytest.raises(FailureError, match="is no tokenizer file"):
        PretrainedTokenizer(tmp_path)
    write_tiny_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(FailureError, match="holds a list; expected an object"):
        PretrainedTokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_bytes(b"\xff")
    with pytest.raises(FailureError, match="is not UTF-8"):
        PretrainedTokenizer(tmp_path)


def test_ids_and_texts_that_cannot_be(tokenizers):
    tokenizer = tokenizers["qwen"]
    with pytest.raises(InputError, match="lone surrogate"):
        tokenizer.encode("a\ud800")
    with pytest.raises(InputError, match="has -1; expected"):
        tokenizer.decode([3, -1])
    with pytest.raises(InputError, match="expected whole numbers"):
        tokenizer.decode([0.5])
    assert tokenizer.decode([71, 5000]) == tokenizer.decode([71])  # models have more ids than words
    assert tokenizer.decode([]) == ""


def test_the_identity_differs_where_ids_or_texts_may(tmp_path, tokenizers):
    same = changed(tmp_path / "same")
    others = [
        changed(tmp_path / "eos", eos_token="<|endoftext|>"),
        changed(tmp_path / "llama", chat="llama3"),
    ]
    write_tiny_tokenizer(tmp_path / "template")
    (tmp_path / "template" / "chat_template.jinja").write_text("other")
    others.append(PretrainedTokenizer(tmp_path / "template"))
    assert same.identity == tokenizers["qwen"].identity
    assert all(other.identity != same.identity for other in others)


def test_copied_files_make_the_same_tokenizer(tmp_path):
    source = tmp_path / "source"
    write_tiny_tokenizer(source)
    (source / "generation_config.json").write_text('{"eos_token_id": [295]}')
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "rag.jinja").write_text("RAG")
    (source / "model.safetensors").write_text("not the tokenizer's")
    tokenizer, copy = PretrainedTokenizer(source), tmp_path / "copy"
    for name, path in tokenizer.files().items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(path.read_bytes())
    assert not (copy / "model.safetensors").exists()
    assert PretrainedTokenizer(copy).identity == tokenizer.identity


def test_templates_by_name(tmp_path):
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    write_tiny_tokenizer(tmp_path / "n", chat="none")
    tokenizer = changed(tmp_path / "n", chat="none", chat_template=named)
    assert tokenizer.render([golden_chats.ASK]) == "D"
    assert tokenizer.render([golden_chats.ASK], tools=[golden_chats.TOOL]) == "T"
    assert tokenizer.render([golden_chats.ASK], template="tool_use") == "T"
    with pytest.raises(InputError, match=r"no chat template 'x' \(it has: default, tool_use\)"):
        tokenizer.render([golden_chats.ASK], template="x")
    with pytest.raises(InputError, match="it has: none"):
        changed(tmp_path / "none", chat="none").render([golden_chats.ASK])
    with pytest.raises(FailureError, match=r"chat_template .*expected a template"):
        changed(tmp_path / "bad", chat="none", chat_template=[{"name": "x"}])
    file = changed(tmp_path / "file", chat_template="of the configuration")
    assert file.render([golden_chats.ASK]).startswith("<|im_start|>")  # a file of its own wins

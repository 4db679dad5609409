"""A thousand damaged tokenizer folders: each is read, or refused in one sentence."""

import json
import random

import pytest
from golden_chats import ANSWER, ASK, TOOL
from tiny_tokenizers import TEMPLATES, write_tiny_tokenizer

from jaxreason.errors import FailureError, InputError
from jaxreason.tokens.chat_template import JinjaTemplate
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.tokens.template_process import TemplateProcess

VALUES = (
    *("null", "-1", "1e400", "99999999999999999999", "[]", "{}", '""', "true", '"\\ud800"'),
    *("[" * 500, '{"a":' * 500, '"(a+)+$"', "NaN", '{"type": "Nothing"}', "[[]]", '"\\u0000"'),
)


def damaged(content, draw):
    """The bytes with one thing wrong."""
    kind, place = draw.randrange(5), draw.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]
    if kind == 2:
        end = min(len(content), place + draw.randrange(1, 200))
        return content[:place] + content[end:]
    if kind == 3:
        other = draw.randrange(len(content))
        return content[:place] + content[other : other + 60] + content[place:]
    # the value after some colon
    start = content.find(b":", place) + 1
    end = min((e for e in (content.find(s, start) for s in (b",", b"}")) if e > 0), default=start)
    return content[:start] + draw.choice(VALUES).encode() + content[end:]


def refused(action):
    """The sentence of a refusal, or None; anything but a refusal is raised."""
    try:
        action()
    except (InputError, FailureError) as error:
        sentence = str(error)
        assert sentence
        assert len(sentence) < 900
        return sentence
    return None


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_damaged_files(tmp_path, name):
    write_tiny_tokenizer(tmp_path, chat="qwen")
    whole, draw = (tmp_path / name).read_bytes(), random.Random(name)

    def use():
        tokenizer = PretrainedTokenizer(tmp_path)
        tokens = tokenizer.encode("What is 2+2? <|im_end|>", special=True)
        assert len(tokens) < 1000
        tokenizer.decode(tokens)
        assert tokenizer.identity

    outcomes = []
    for _ in range(350):
        (tmp_path / name).write_bytes(damaged(whole, draw))
        outcomes.append(refused(use))
    assert 5 < sum(outcome is None for outcome in outcomes) < 330


def test_damaged_generation_settings(tmp_path):
    write_tiny_tokenizer(tmp_path)
    whole, draw = b'{"eos_token_id": [297, 295], "temperature": 0.6}', random.Random(3)
    for _ in range(100):
        (tmp_path / "generation_config.json").write_bytes(damaged(whole, draw))
        refused(lambda: PretrainedTokenizer(tmp_path).stops)


def test_damaged_templates():
    draw, process = random.Random(4), TemplateProcess(seconds=1.0, memory=300 << 20)
    files = sorted(TEMPLATES.glob("*.jinja"))
    outcomes = []
    for i in range(300):
        source = damaged(files[i % len(files)].read_bytes(), draw).decode(errors="replace")

        def use(source=source):
            template = JinjaTemplate(source, process=process)
            template.render([ASK, ANSWER], prompt=True, tools=[TOOL], eos_token="</s>")

        outcomes.append(refused(use))
    assert 20 < sum(outcome is None for outcome in outcomes) < 280


def other_tokenizer(folder, **parts):
    write_tiny_tokenizer(folder)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return PretrainedTokenizer(folder)


def test_a_normalizer_that_blows_texts_up(tmp_path):
    doubled = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    few = {"type": "Sequence", "normalizers": [doubled] * 3}
    assert other_tokenizer(tmp_path, normalizer=few).decode([64]) == "a"
    many = {"type": "Sequence", "normalizers": [doubled] * 40}
    with pytest.raises(FailureError, match="replaces one character by"):
        other_tokenizer(tmp_path, normalizer=many)


def test_a_pattern_that_needs_for_ever(tmp_path):
    words = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    tokenizer = other_tokenizer(tmp_path, pre_tokenizer=words)
    with pytest.raises(FailureError, match=r"fails on a text: .*retry-limit"):
        tokenizer.encode("a" * 100 + "c")


def test_lengths_of_the_file_are_not_those_of_texts(tmp_path):
    padding = {
        "strategy": {"Fixed": 10**9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
    }
    cut = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    assert len(other_tokenizer(tmp_path, padding=padding, truncation=cut).encode("abc")) == 3

"""Answers of base models end where the chat template ends turns."""

import json

import pytest

from jaxreason.data.language.records import PromptRecord
from jaxreason.training.language.problems import Problems

pytest.importorskip("tokenizers")


@pytest.mark.parametrize(("template", "ends"), [("chat", (295, 297)), ("plain", (295,))])
def test_rollouts_end_with_the_turn_of_the_template(tmp_path, template, ends):
    from tiny_tokenizers import write_tiny_tokenizer

    from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

    write_tiny_tokenizer(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}))
    asked = PromptRecord(({"role": "user", "content": "1+1?"},), "2")
    tokenizer = PretrainedTokenizer(tmp_path)
    problems = Problems([asked], tokenizer, length=64, template=template, overflow="error")
    assert problems.vocabulary.eos == ends

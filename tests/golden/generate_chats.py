"""Writes chats.json: what transformers makes of `golden_chats`. Run it in tests/ as

    python golden/generate_chats.py

It needs transformers (extra `oracle`); the file was made with transformers 5.23.
"""

import datetime
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import golden_chats
from tiny_tokenizers import STYLES, write_tiny_tokenizer

MODEL_TYPES = {
    **{"llama2": "llama", "llama3": "llama", "mistral": "mistral"},
    **{"llada": "llada", "deepseek": "deepseek_v3"},
}


class Date(datetime.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def load(folder):
    """transformers' tokenizer of a folder, with a clock that stands still."""
    from transformers import AutoTokenizer
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = Date
    return AutoTokenizer.from_pretrained(str(folder))


def write(folder, style):
    """A folder that transformers takes for a model's."""
    write_tiny_tokenizer(folder, chat=style)
    config = {"model_type": MODEL_TYPES.get(style, "qwen2")}
    (Path(folder) / "config.json").write_text(json.dumps(config))


def theirs(tokenizer, chat, option):
    """What transformers renders, or None if it refuses."""
    options = dict(golden_chats.OPTIONS[option])
    options["add_generation_prompt"] = options.pop("prompt", False)
    options["continue_final_message"] = options.pop("continue_last", False)
    messages = golden_chats.CHATS[chat]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except Exception:  # whatever a template raises
        return None


def facts(folder, style):
    """All that a test compares."""
    write(folder, style)
    tokenizer = load(folder)
    found = {
        "size": len(tokenizer),
        "ids": [
            tokenizer(text, add_special_tokens=False)["input_ids"] for text in golden_chats.TEXTS
        ],
        "special_ids": [tokenizer(text)["input_ids"] for text in golden_chats.TEXTS],
    }
    found["decoded"] = [tokenizer.decode(ids) for ids in found["ids"]]
    found["skipped"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found["ids"]]
    if tokenizer.chat_template is not None:
        found["chats"] = {
            f"{chat} {option}": theirs(tokenizer, chat, option)
            for chat, option in golden_chats.cases()
        }
    if "generation %}" in (tokenizer.chat_template or ""):
        answer = tokenizer.apply_chat_template(
            golden_chats.CHATS["turns"], return_assistant_tokens_mask=True
        )
        found["learned"] = [answer["input_ids"], answer["assistant_masks"]]
    return found


def main():
    golden = {}
    for style in STYLES:
        with tempfile.TemporaryDirectory() as folder:
            golden[style] = facts(folder, style)
    golden_chats.GOLDEN.write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()

"""Conversations and texts that our tokenizers and those of transformers must agree on."""

import json
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden" / "chats.json"

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": 'Tells the "weather" of <a place> & a day',
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    },
}

SYSTEM = {"role": "system", "content": " You are terse.\n"}
ASK = {"role": "user", "content": "What is 2+2?  "}
ANSWER = {"role": "assistant", "content": " It is 4."}
THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nIt is 4."}
AGAIN = {"role": "user", "content": "Grüße, 世界 🎉 — and\n\nthe <|im_end|> rest </s>?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"place": "Köln"}}}
    ],
}
RESULT = {"role": "tool", "content": '{"sky": "grey"}'}

CHATS = {
    "one": [ASK],
    "system": [SYSTEM, ASK],
    "answered": [ASK, ANSWER],
    "thought": [SYSTEM, ASK, THOUGHT],
    "turns": [SYSTEM, ASK, ANSWER, AGAIN],
    "thought_turns": [ASK, THOUGHT, AGAIN, {**ANSWER, "reasoning_content": "Again four."}],
    "tools": [ASK, CALL, RESULT],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "see "}, {"type": "image"}]}],
    "twice": [ASK, ASK],
}

OPTIONS = {
    "plain": {},
    "prompt": {"prompt": True},
    "tools": {"prompt": True, "tools": [TOOL]},
    "continued": {"continue_last": True},
    "unthinking": {"prompt": True, "enable_thinking": False},
    "dated": {"date_string": "01 Jan 2020"},
}

TEXTS = (
    "",
    " ",
    "Hello world",
    "  two  spaces\n\n\tand a tab\r\n",
    "Grüße, 世界 🎉 é é naïve",
    "1234567 3.14 10,000",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<s>[INST] hi [/INST] there</s> <think>x</think><tool_call>",
    "<|begin_of_text|>a<|eot_id|> b <|begin_of_sentence|>c<|mdm_mask|>",
    "x<|im_end|",
    "\x00\x7f\u200b\ufeff",
)


def cases():
    """(chat, option) names; continuing needs text at the end, tools do not change every chat."""
    for chat in CHATS:
        for option in OPTIONS:
            if option != "continued" or chat not in ("tools", "parts"):
                yield chat, option


def golden():
    """What transformers gave; see golden/generate_chats.py."""
    return json.loads(GOLDEN.read_text())

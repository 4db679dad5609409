"""A tokenizer of characters with the interface of `PretrainedTokenizer`."""

from typing import NamedTuple

import numpy as np

from jaxreason.errors import InputError

ROLES = {"system": 1, "user": 2, "assistant": 3}


class Chat(NamedTuple):
    tokens: np.ndarray
    assistant: np.ndarray


class Characters:
    """A turn is its role, its text and 4; a character is its code + 10; 0 pads."""

    pad, eos, bos, stops = 0, 4, None, (4,)

    def __init__(self):
        self.identity = {"size": 10_000}

    def encode(self, text, special=False):
        return np.array([ord(character) + 10 for character in text], np.int32)

    def encode_chat(self, messages, prompt=False):
        parts = []
        for message in messages:
            if message["role"] not in ROLES:
                raise InputError(f"the template has no {message['role']}")
            parts += [[ROLES[message["role"]]], self.encode(message["content"]), [4]]
        return np.concatenate([*parts, [3] if prompt else []]).astype(np.int32)

    def encode_training_chat(self, messages, learn="all"):
        tokens, learnt = [], []
        last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
        for i, message in enumerate(messages):
            ids = self.encode_chat([message])
            wanted = message["role"] == "assistant" and (learn == "all" or i == last)
            tokens.append(ids)
            learnt.append(np.arange(len(ids)) >= (1 if wanted else len(ids)))
        return Chat(np.concatenate(tokens), np.concatenate(learnt))

    def decode(self, ids):
        return "".join(chr(i - 10) for i in ids if i > 10)

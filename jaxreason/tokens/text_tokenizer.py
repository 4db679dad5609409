"""What turns ordinary text into ids: any object with `encode`, such as a tokenizer's JSON file."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path
from jaxreason.tokens.multimodal_vocabulary import MultimodalIds, mmada_ids


class TextTokenizer(Protocol):
    """Text to ids; the word vocabularies of this package are such objects too."""

    def encode(self, text: str) -> np.ndarray | Sequence[int]:
        """Ids of a text; special tokens only where the text spells them."""
        ...


class TokenizerFile:
    """A `tokenizer.json` of the Hugging Face library `tokenizers` (extra `hf`).

    Args:
        path: of the file.

    Attributes:
        size: number of ids, added tokens included.

    Raises:
        InputError: the extra is not installed.
        FailureError: no such file, or not a tokenizer.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(
                f"tokenizer {str(path)!r} needs the library tokenizers; install it with "
                "`pip install 'jaxreason[hf]'`"
            ) from error
        self.path = as_path(path)
        try:
            self._content = self.path.read_bytes()
        except OSError as error:
            raise FailureError(f"tokenizer {str(path)!r} cannot be read: {error}") from error
        try:
            self._tokenizer = Tokenizer.from_buffer(self._content)
        except Exception as error:  # the library raises bare Exceptions
            raise FailureError(f"tokenizer {str(path)!r} is no tokenizer file: {error}") from error
        self.size = int(self._tokenizer.get_vocab_size())

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Size and a hash of the file."""
        return {"size": self.size, "sha256": hashlib.sha256(self._content).hexdigest()[:16]}

    def id(self, token: str) -> int:
        """The id of one token; InputError if there is none."""
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise InputError(f"token {token!r} is not in the tokenizer {str(self.path)!r}")
        return int(number)

    def encode(self, text: str) -> np.ndarray:
        """Ids of a text, int32 [n]; none are added before or after it."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids, special tokens left out."""
        return self._tokenizer.decode(np.asarray(ids).tolist(), skip_special_tokens=True)


def mmada_ids_of(tokenizer: TokenizerFile) -> MultimodalIds:
    """`mmada_ids` with the offset of this tokenizer, checked against its tokens.

    A tokenizer without the header tokens is refused: adding them, as the Gen-Verse/MMaDA repository
    does, would move every image id.

    Raises:
        InputError: a special token is missing or has another id than in MMaDA.
    """
    expected = mmada_ids()
    names = {
        "bos": "<|startoftext|>",
        "start_header": "<|start_header_id|>",
        "end_header": "<|end_header_id|>",
        "end_of_turn": "<|eot_id|>",
    }
    for field, token in names.items():
        found = tokenizer.id(token)
        if found != getattr(expected, field):
            raise InputError(
                f"token {token!r} has the id {found} in {str(tokenizer.path)!r}; expected "
                f"{getattr(expected, field)} as {field}"
            )
    return mmada_ids(image_offset=tokenizer.size)

"""What a diffusion model of text is asked in, and what ends its answers: ids, tokenizer, layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxreason.errors import InputError
from jaxreason.tokens.chat import REASONING_INSTRUCTION, ChatTemplate
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer

INSTRUCTIONS: Mapping[str, str] = {
    "none": "",
    "mmada": REASONING_INSTRUCTION,
    "d1": (
        "Respond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n"
        "</answer>\n"
    ),
}
"""What is put before the question, by name; that of d1 is our wording of its two pairs of tags."""


class TextIds(NamedTuple):
    """Special ids of a diffusion model of text.

    Attributes:
        mask: stands for a token to be predicted.
        eos: ends an answer, and fills up what follows it (LLaDA is trained to predict it there).
        eot: ends a turn, and so an answer; None if not known.
        size: number of ids the model has.
    """

    mask: int
    eos: int
    eot: int | None
    size: int


def text_ids(experiment: Any, path: str) -> TextIds:
    """The special ids of a base.

    Args:
        experiment: what the base was trained as.
        path: of the base, for messages.

    Raises:
        InputError: it is no masked-diffusion model over whole rows of text.
    """
    size = experiment.transformer().config.vocabulary_size
    if experiment.kind == "imported":
        return TextIds(experiment.mask, experiment.eos, experiment.eot, size)
    if experiment.kind != "diffusion_records":
        raise InputError(
            f"base {path} was trained on {experiment.words()}; expected LLaDA or MMaDA weights, or "
            "a run of masked diffusion on records that started from them"
        )
    if experiment.blocks.length:
        raise InputError(
            f"base {path} is a block-diffusion model (blocks.length {experiment.blocks.length}); "
            "expected one of masked diffusion over whole rows"
        )
    ids = experiment.ids
    return TextIds(ids.mask, ids.eos, ids.end_of_turn, size)


def check_ends(tokenizer: PretrainedTokenizer, ids: TextIds, base: str) -> None:
    """Refuse the tokenizer of another model.

    Raises:
        InputError: texts end with another id than the model's.
    """
    if tokenizer.eos not in (ids.eos, ids.eot):
        raise InputError(
            f"the tokenizer of {tokenizer.folder} ends a text with id {tokenizer.eos}, the model "
            f"of {base} with {ids.eos}; expected the model's own tokenizer"
        )


@dataclass(frozen=True)
class TextCoder:
    """Messages as prompts, and answers as text.

    Attributes:
        tokenizer: of the model.
        ids: of the model.
        template: "chat": the tokenizer's chat template; "mmada": MMaDA's own layout after a bos.
        instruction: put before the last turn of the user.
    """

    tokenizer: PretrainedTokenizer
    ids: TextIds
    template: str
    instruction: str

    def prompt(
        self, messages: Sequence[Mapping[str, Any]], instruction: str | None = None
    ) -> np.ndarray:
        """The ids of a prompt, int32 [n], up to where the answer begins.

        Args:
            messages: up to a turn of the user.
            instruction: instead of `self.instruction`.

        Raises:
            InputError: no turn of the user, messages that the layout cannot hold, or a text that
                spells the mask.
        """
        turns = _instructed(messages, self.instruction if instruction is None else instruction)
        if self.template == "chat":
            prompt = np.asarray(self.tokenizer.encode_chat(turns, prompt=True), np.int32)
        else:
            told = [(str(turn["role"]), _text(turn["content"])) for turn in turns]
            body = self.tokenizer.encode(ChatTemplate().render(told, prompt=True))
            prompt = np.concatenate([np.array([self._bos()], np.int32), body]).astype(np.int32)
        if (prompt == self.ids.mask).any():
            raise InputError("the prompt spells the mask token, which stands for nothing given")
        return prompt

    def _bos(self) -> int:
        if self.tokenizer.bos is None:
            raise InputError("template is 'mmada', whose bos the tokenizer does not have")
        return self.tokenizer.bos

    def answer(self, tokens: np.ndarray, length: int) -> str:
        """The text of an answer of so many tokens, without its end token.

        Ids that the tokenizer does not have, such as those of images, say nothing.
        """
        ids = np.asarray(tokens)[:length]
        ends = [i for i in (self.ids.eos, self.ids.eot) if i is not None]
        kept = ids[~np.isin(ids, ends) & (ids < self.tokenizer.size)]
        return self.tokenizer.decode(kept)


def _instructed(messages: Sequence[Mapping[str, Any]], instruction: str) -> list[dict[str, Any]]:
    turns = [dict(message) for message in messages]
    places = [i for i, turn in enumerate(turns) if turn["role"] == "user"]
    if not places:
        raise InputError("the prompt has no turn of the user")
    if instruction:
        turns[places[-1]]["content"] = instruction + _text(turns[places[-1]]["content"])
    return turns


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise InputError(f"content is {type(content).__name__}; expected text")
    return content

"""Turns of a conversation as one text, and the format `<think> reasoning </think> answer`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxreason.errors import InputError

THINK, END_THINK = "<think>", "</think>"

REASONING_INSTRUCTION = (
    "You should first think about the reasoning process in the mind and then provide the user with "
    "the answer. The reasoning process is enclosed within <think> </think> tags, i.e. <think> "
    "reasoning process here </think> answer here\n"
)
"""What the Gen-Verse/MMaDA repository puts before a question that is to be reasoned about."""

IMAGE_INSTRUCTION = (
    "You should first think out a more detailed version of the description and then provide the "
    "user with the image. The detailed description is enclosed within <think> </think> tags, i.e. "
    "<think> detailed description here </think> image here\n"
)
"""The same before a description of which a picture is to be made."""


class Turn(NamedTuple):
    """One turn of a conversation: who says what."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatTemplate:
    """How turns become text; the defaults are those of LLaDA-8B-Instruct and MMaDA.

    A sequence's bos and eos are no part of it: layouts add them.

    Attributes:
        start_header: before the role.
        end_header: after the role.
        newline: between header and content.
        end_of_turn: after the content. MMaDA's captions, multimodal reasoning and
            reasoning-to-image strings spell it `<eot_id>`, which its tokenizer reads as ordinary
            text; set that to prompt the released weights as they were trained on those.
        joiner: between all parts; a space for vocabularies of whole words.
        close_answer: whether a text that ends with the assistant's turn ends in `end_of_turn`;
            MMaDA's training texts end with the answer itself.
    """

    start_header: str = "<|start_header_id|>"
    end_header: str = "<|end_header_id|>"
    newline: str = "\n"
    end_of_turn: str = "<|eot_id|>"
    joiner: str = ""
    close_answer: bool = False

    def render(self, turns: Sequence[Turn | tuple[str, str]], prompt: bool = False) -> str:
        """The text of the turns.

        Args:
            turns: (role, content) in order.
            prompt: whether the header of the assistant's answer follows, as for generation.

        Raises:
            InputError: no turns.
        """
        if not turns:
            raise InputError("there are no turns; expected at least one")
        parts: list[str] = []
        for place, (role, content) in enumerate(turns):
            parts += [*self._header(role), content]
            answer = place == len(turns) - 1 and role == "assistant" and not prompt
            if self.close_answer or not answer:
                parts.append(self.end_of_turn)
        if prompt:
            parts += self._header("assistant")
        return self.joiner.join(part for part in parts if part)

    def _header(self, role: str) -> list[str]:
        return [self.start_header, role, self.end_header, self.newline]


class Reasoned(NamedTuple):
    """A text taken apart.

    Attributes:
        reasoning: what stands between the tags, None if nothing does.
        answer: what follows the first `</think>`, or the whole text without tags.
        strict: the text is `<think> reasoning </think> answer` and nothing else: each tag once,
            nothing before the first, reasoning and answer not empty.
        soft: the tags occur in order somewhere, and something follows them.
    """

    reasoning: str | None
    answer: str
    strict: bool
    soft: bool


def format_reasoning(reasoning: str | None, answer: str, joiner: str = " ") -> str:
    """`<think> reasoning </think> answer`; the answer alone if the reasoning is None."""
    if reasoning is None:
        return answer
    return joiner.join(part for part in (THINK, reasoning, END_THINK, answer) if part)


def parse_reasoning(text: str) -> Reasoned:
    """Takes a text apart at its tags; never raises over what the text says."""
    before, opened, rest = text.partition(THINK)
    inside, closed, after = rest.partition(END_THINK)
    if not opened or not closed:
        return Reasoned(None, text.strip(), False, False)
    reasoning, answer = inside.strip(), after.strip()
    again = THINK in rest or END_THINK in after or END_THINK in before
    strict = not before.strip() and not again and bool(reasoning) and bool(answer)
    return Reasoned(reasoning, answer, strict, bool(answer))

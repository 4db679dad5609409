"""How each benchmark is put to MMaDA: one table, with what is published and what is ours.

Published is the adapter that the Gen-Verse/MMaDA repository evaluates with (evaluation/VLMEvalKit/
vlmeval/vlm/mmada, commit 3cdb870): prompts, the template with `<eot_id>` spelled out, two tokens in
two steps of one block at temperature 0 for every data set that its table does not name, the crop,
and the treatment of yes-or-no answers. The settings behind the paper's own numbers are not
published, and the authors say that theirs differ; nothing here claims to reproduce them.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxreason.errors import InputError
from jaxreason.evaluation.vision.pictures import Fit
from jaxreason.sampling.diffusion.config import TextDiffusionConfig
from jaxreason.tokens.chat import ChatTemplate, Turn

SHORT = "Answer the question using a single word or phrase."
BENCHMARKS = ("vqav2", "pope", "gqa", "mme")
FITS = ("crop", "squash")


@dataclass(frozen=True)
class AnswerSettings:
    """How questions are put, decoded and what is made of the answers.

    Attributes:
        suffix: after every question.
        length: tokens of an answer.
        steps: denoising steps.
        block: tokens of a block, decoded one after the other.
        temperature: 0 takes the most likely tokens.
        resolution: rows and columns of the pictures in pixels.
        fit: `crop` cuts the middle out, `squash` changes proportions.
        end_of_turn: after the question; MMaDA's repository spells `<eot_id>`, which its tokenizer
            reads as text.
        finish: what becomes of a decoded answer, a key of `FINISHES`.

    Raises:
        InputError: a value out of range.
    """

    suffix: str
    length: int = 2
    steps: int = 2
    block: int = 2
    temperature: float = 0.0
    resolution: int = 512
    fit: Fit = "crop"
    end_of_turn: str = "<eot_id>"
    finish: str = "as_is"

    def __post_init__(self) -> None:
        if self.resolution < 1:
            raise InputError(f"resolution is {self.resolution}; it must be at least 1")
        for name, known in (("fit", FITS), ("finish", tuple(FINISHES))):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        self.decoding()

    def decoding(self) -> TextDiffusionConfig:
        """The sampler's settings.

        Padding is hidden whatever the model was trained with: a row then gets the answer that it
        gets alone and without padding, as the published code asks it.
        """
        return TextDiffusionConfig(
            length=self.length,
            block=self.block,
            steps=self.steps,
            temperature=self.temperature,
            mask_mode="bool",
        )

    def prompt(self, question: str) -> str:
        """The text that follows the picture, up to the header of the answer."""
        template = ChatTemplate(end_of_turn=self.end_of_turn)
        return template.render([Turn("user", question + self.suffix)], prompt=True)


def yes_or_no(answer: str) -> str:
    """`Yes` or `No` where only one of them occurs anywhere, or stands first; else the answer."""
    text = answer.lower()
    yes, no = "yes" in text, "no" in text
    if yes != no:
        return "Yes" if yes else "No"
    start = text.strip()
    return "Yes" if start.startswith("yes") else "No" if start.startswith("no") else answer


def _mme(answer: str) -> str:
    found = yes_or_no(answer)
    words = found.split()
    return " ".join(words[:3]) if len(found) > 10 and len(words) > 3 else found


FINISHES: dict[str, Callable[[str], str]] = {
    "as_is": str.strip,
    "lower": lambda answer: answer.strip().rstrip(".").lower(),
    "yes_or_no": lambda answer: yes_or_no(answer).strip(),
    "mme": lambda answer: _mme(answer).strip(),
}
"""Name to what becomes of a decoded answer."""


@dataclass(frozen=True)
class Source:
    """Where a benchmark's settings come from.

    Attributes:
        settings: the settings.
        published: what follows the repository's adapter.
        ours: what it does not say, and was chosen here.
    """

    settings: AnswerSettings
    published: str
    ours: str = ""


SETTINGS: dict[str, Source] = {
    "vqav2": Source(
        AnswerSettings(f"\n{SHORT}"),
        "the prompt for any other visual questions; 2 tokens, 2 steps, block 2",
        "the adapter does not know VQAv2: that this prompt is meant for it",
    ),
    "pope": Source(
        AnswerSettings("", finish="yes_or_no"),
        "the question as it is; 2 tokens, 2 steps, block 2; yes-or-no answers are cleaned",
        "the questions are those of the official files, which may differ from the adapter's copy",
    ),
    "gqa": Source(
        AnswerSettings(f"\n{SHORT}", finish="lower"),
        "the prompt; 2 tokens, 2 steps, block 2",
        "answers are lowered and lose their full stop, as LLaVA's script for GQA does, since the "
        "official scorer compares letter by letter",
    ),
    "mme": Source(
        AnswerSettings(f" {SHORT}", finish="mme"),
        "the prompt after the official question; 2 tokens, 2 steps, block 2; yes-or-no answers are "
        "cleaned, others cut to three words",
    ),
}
"""Benchmark to its settings."""

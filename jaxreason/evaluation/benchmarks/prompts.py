"""How questions are put: templates and the solved examples that published prompts contain.

Templates hold `{question}`, `{choices}` (a line "A. text" each), `{subject}` and, in answers,
`{answer}`; other braces are plain text.
"""

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_PLACE = re.compile(r"\{(question|choices|subject|answer)\}")


@dataclass(frozen=True)
class Prompt:
    """A way to put a question.

    Attributes:
        question: template of a question.
        answer: template of what follows it in a solved example; of a choice, what is scored.
        between: text after a solved example. Not used in a conversation, where examples are turns.
        before: template of what comes before the first example.
        chat: whether the model's chat template is used; `before` is the system message then.
        opening: what the answer is made to begin with.
    """

    question: str
    answer: str = " {answer}"
    between: str = "\n\n"
    before: str = ""
    chat: bool = False
    opening: str = ""


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its places filled; texts put in are not looked at again."""
    return _PLACE.sub(lambda place: values[place[1]], template)


@functools.cache
def exemplars(name: str) -> tuple[tuple[str, str], ...]:
    """Solved examples of a published prompt as (question, answer).

    wei8: Wei et al. 2022 (arXiv 2201.11903, table 20). minerva4: Lewkowycz et al. 2022 (arXiv
    2206.14858, appendix D.2). complex4: Fu et al. 2022 (arXiv 2210.00720), the first four as
    OpenCompass has them. truthfulqa6: Lin et al. 2021 (arXiv 2109.07958, appendix E).
    """
    file = importlib.resources.files(__package__) / "exemplars.json"
    known = json.loads(file.read_text(encoding="utf-8"))
    return tuple((question, answer) for question, answer in known[name])


_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_TAGS = (
    "\nRespond in the following format:\n<reasoning>\nYour reasoning here\n</reasoning>\n"
    "<answer>\n\\boxed{...}\n</answer>"
)
_EXPERT = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. "
    "Wrap the final answer in a \\boxed{}."
)
_CHOICE = (
    "There is a single choice question about {subject}. "
    "Answer the question by replying A, B, C or D.\nQ: {question}\n{choices}\nA: "
)
_CHOICE_SHOT = (
    "There is a single choice question about {subject}. "
    "Answer the question by replying A, B, C or D.\nQuestion: {question}\n{choices}\nAnswer: "
)
_SUBJECT = "The following are multiple choice questions (with answers) about {subject}.\n\n"

PROMPTS: Mapping[str, Prompt] = {
    "question-answer": Prompt("Question: {question}\nAnswer:"),
    "q-a": Prompt("Q: {question}\nA:"),
    "problem-solution": Prompt("Problem:\n{question}\n\nSolution:"),
    "letters": Prompt("{question}\n{choices}\nAnswer:", before=_SUBJECT),
    "boxed": Prompt("{question}", before=_BOXED, chat=True),
    "boxed-below": Prompt("{question}\n" + _BOXED, chat=True),
    "step-by-step": Prompt(
        "Question: {question}\nLet's think step by step\nAnswer:", "{answer}", chat=True
    ),
    "tags": Prompt(f"{_EXPERT} {_TAGS}\n\n{{question}}", chat=True, opening="<reasoning>"),
    "tags-math": Prompt(f'{_EXPERT}{_TAGS}" \n\n\n{{question}}', chat=True, opening="<reasoning>"),
    "single-choice": Prompt(_CHOICE, "{answer}\n", chat=True),
}

SHOT_QUESTIONS: Mapping[str, str] = {"single-choice": _CHOICE_SHOT}
"""Where solved examples are put otherwise than the question."""

"""Questions as a model is asked them."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.evaluation.benchmarks.prompts import (
    PROMPTS,
    SHOT_QUESTIONS,
    Prompt,
    exemplars,
    fill,
)
from jaxreason.evaluation.benchmarks.questions import Question, letter
from jaxreason.evaluation.benchmarks.settings import Setting

HARNESS_SEED = 1234
"""Of lm-evaluation-harness's draws of solved examples."""

Render = Callable[[Sequence[Mapping[str, Any]]], str]


class Asked(NamedTuple):
    """What a model is given.

    Attributes:
        context: the text before the answer.
        continuations: of each choice, where probabilities are compared; else ().
    """

    context: str
    continuations: tuple[str, ...]


def ask(
    setting: Setting,
    questions: Sequence[Question],
    examples: Sequence[Question],
    render: Render,
) -> list[Asked]:
    """The texts for all questions, in their order, on which drawn examples depend.

    Args:
        setting: how they are put.
        questions: of the benchmark.
        examples: solved ones, where the setting takes them from a file.
        render: a conversation as text, up to the answer.

    Raises:
        InputError: fewer examples than the setting shows.
    """
    prompt = PROMPTS[setting.prompt]
    take = _picker(setting, examples)
    return [_ask(setting, prompt, question, take(question), render) for question in questions]


def _picker(
    setting: Setting, examples: Sequence[Question]
) -> Callable[[Question], Sequence[Question]]:
    """Which solved examples a question gets."""
    count = setting.shots
    if not count:
        return lambda question: ()
    if not setting.needs_examples:
        fixed = [Question("", text, "", solution) for text, solution in exemplars(setting.pick)]
        return lambda question: fixed[:count]
    if setting.pick == "drawn":
        _check_enough(setting, len(examples), "")
        drawing = random.Random(HARNESS_SEED)
        return lambda question: [examples[i] for i in drawing.sample(range(len(examples)), count)]
    subjects: dict[str, list[Question]] = {}
    for example in examples:
        subjects.setdefault(example.subject, []).append(example)

    def first(question: Question) -> Sequence[Question]:
        found = subjects.get(question.subject, [])
        _check_enough(setting, len(found), question.subject)
        return found[:count]

    return first


def _check_enough(setting: Setting, there: int, subject: str) -> None:
    if there < setting.shots:
        of = f" of subject {subject!r}" if subject else ""
        raise InputError(
            f"the examples file has {there} questions{of}; {setting.benchmark}/{setting.name} "
            f"shows {setting.shots} solved ones before each question"
        )


def _ask(
    setting: Setting,
    prompt: Prompt,
    question: Question,
    shots: Sequence[Question],
    render: Render,
) -> Asked:
    shown = SHOT_QUESTIONS.get(setting.prompt, prompt.question)
    before = fill(prompt.before, _values(question))
    if prompt.chat:
        messages = [{"role": "system", "content": before}] if before else []
        for shot in shots:
            messages.append({"role": "user", "content": fill(shown, _values(shot))})
            messages.append({"role": "assistant", "content": fill(prompt.answer, _values(shot))})
        messages.append({"role": "user", "content": fill(prompt.question, _values(question))})
        context = render(messages) + prompt.opening
    else:
        solved = (
            fill(shown, _values(shot)) + fill(prompt.answer, _values(shot)) + prompt.between
            for shot in shots
        )
        context = before + "".join(solved) + fill(prompt.question, _values(question))
    if setting.generates:
        return Asked(context, ())
    answers = (
        [letter(i) for i in range(len(question.choices))]
        if "{choices}" in prompt.question
        else question.choices
    )
    return Asked(context, tuple(fill(prompt.answer, {"answer": each}) for each in answers))


def _values(question: Question) -> dict[str, str]:
    lines = [f"{letter(i)}. {text}" for i, text in enumerate(question.choices)]
    return {
        "question": question.text,
        "choices": "\n".join(lines),
        "subject": question.subject.replace("_", " "),
        "answer": question.solution,
    }

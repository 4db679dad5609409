"""Answers of a model to questions, judged, and the numbers they make."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxreason.evaluation.benchmarks.asking import Asked
from jaxreason.evaluation.benchmarks.questions import Question, letter
from jaxreason.evaluation.benchmarks.results import SCHEMA
from jaxreason.evaluation.benchmarks.scoring import choose, score
from jaxreason.evaluation.benchmarks.settings import Setting
from jaxreason.evaluation.harness import HarnessModel
from jaxreason.evaluation.statistics import share


def judged_answers(
    model: HarnessModel,
    setting: Setting,
    questions: Sequence[Question],
    asked: Sequence[Asked],
    first: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The lines of the answers' file for a group of questions; see `results`.

    Args:
        model: that answers.
        setting: how it is asked and judged.
        questions: of the group.
        asked: what the model is given for each.
        first: number of the first one.
        seed: of sampling; every group adds its `first`.
    """
    if setting.generates:
        judged = _written(model, setting, questions, asked, seed + first)
    else:
        judged = _compared(model, setting, questions, asked)
    rows = []
    for place, (question, each) in enumerate(zip(questions, asked, strict=True)):
        row = {
            "number": first + place,
            "name": question.name,
            "subject": question.subject,
            "question": question.text,
            "answer": question.answer,
            "cut": _is_cut(model, setting, each),
        }
        rows.append({**row, **judged[place]})
    return rows


def _is_cut(model: HarnessModel, setting: Setting, asked: Asked) -> bool:
    """Whether the model does not see the beginning of what it is asked."""
    rules = model.rules
    if setting.generates:
        return len(rules.encode(asked.context)) > rules.max_length - setting.new_tokens
    # The last token of a next-token model is never read, only its probability is.
    room = rules.max_length + (0 if model.diffusion else 1)
    return any(len(rules.encode(asked.context + each)) > room for each in asked.continuations)


def _written(
    model: HarnessModel,
    setting: Setting,
    questions: Sequence[Question],
    asked: Sequence[Asked],
    seed: int,
) -> list[dict[str, Any]]:
    wanted = {
        "until": list(setting.until),
        "max_gen_toks": setting.new_tokens,
        "temperature": setting.temperature,
        "seed": seed,
    }
    texts = model.generate_until([(each.context, wanted) for each in asked])
    rows: list[dict[str, Any]] = [{"text": text} for text in texts]
    for metric in setting.metrics:
        scored = score(metric, texts, [question.answer for question in questions])
        for row, one in zip(rows, scored, strict=True):
            row[metric] = one._asdict()
    return rows


def _compared(
    model: HarnessModel,
    setting: Setting,
    questions: Sequence[Question],
    asked: Sequence[Asked],
) -> list[dict[str, Any]]:
    pairs = [(each.context, answer) for each in asked for answer in each.continuations]
    found = iter(model.loglikelihood(pairs))
    rows = []
    for question, each in zip(questions, asked, strict=True):
        nats = [next(found)[0] for _ in each.continuations]
        row: dict[str, Any] = {"nats": nats}
        for metric in setting.metrics:
            taken = letter(choose(nats, question.choices, metric == "acc_norm"))
            row[metric] = {"found": taken, "correct": taken == question.answer}
        rows.append(row)
    return rows


def summarise(
    setting: Setting,
    identity: Mapping[str, Any],
    answers: Sequence[Mapping[str, Any]],
    complete: bool,
) -> dict[str, Any]:
    """The numbers of a document; see `results`.

    Args:
        setting: of the answers.
        identity: what they depend on.
        answers: lines of the answers' file.
        complete: whether there are no more to come.
    """
    headline = setting.metrics[0]
    subjects = sorted({answer["subject"] for answer in answers} - {""})
    parts = {s: [a for a in answers if a["subject"] == s] for s in subjects}
    return {
        "schema": SCHEMA,
        "benchmark": setting.benchmark,
        "setting": setting.name,
        "complete": complete,
        "identity": dict(identity),
        "count": len(answers),
        "metrics": {metric: _share(answers, metric) for metric in setting.metrics},
        "subjects": {subject: _share(part, headline) for subject, part in parts.items()},
        "cut": sum(answer["cut"] for answer in answers),
    }


def _share(answers: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    correct = [answer[metric]["correct"] for answer in answers]
    return share(correct, range(len(correct))).as_json()

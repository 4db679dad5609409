"""Answers of a language model to prompts of a file, judged by the reward of RL on such prompts."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.data.language import DataConfig, read_records
from jaxreason.errors import InputError
from jaxreason.evaluation.documents import dump
from jaxreason.evaluation.environment import environment
from jaxreason.paths import as_path
from jaxreason.rewards.math_answers import RECIPES, AnswerPlace
from jaxreason.sampling import autoregressive
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.files import write_atomically
from jaxreason.training.judging import checked, draw
from jaxreason.training.language.base import Part
from jaxreason.training.language.completions import completion_texts
from jaxreason.training.language.problems import AnswerReward, Problems
from jaxreason.training.pretrained import tokenizer_of
from jaxreason.training.prompt_rows import Buckets, encode_prompts, padded
from jaxreason.training.runs import Run, load_run, read_config

Progress = Callable[[str, int, int], None]
SHOWN = 5


@dataclass(frozen=True)
class AnswerSettings:
    """What is asked, how, and what an answer earns.

    Attributes:
        data: prompts with answers.
        count: the first so many.
        temperatures: of the decoding; 0 is greedy, with one answer to a prompt.
        samples: answers to a prompt at temperatures above 0.
        max_new_tokens: limit of an answer.
        prompt_tokens: most tokens of a prompt; longer ones are refused.
        batch_size: prompts decoded together.
        seed: of the sampling.
        template: "chat" or "plain".
        weights: see `rewards.math_answers.math_reward`.
        place: where answers are looked for.
    """

    data: DataConfig
    count: int = 100
    temperatures: tuple[float, ...] = (0.0,)
    samples: int = 1
    max_new_tokens: int = 512
    prompt_tokens: int = 2048
    batch_size: int = 32
    seed: int = 0
    template: str = "chat"
    weights: Mapping[str, float] = field(default_factory=lambda: RECIPES["correct"])
    place: AnswerPlace = "any"

    def __post_init__(self) -> None:
        for name in ("count", "samples", "max_new_tokens", "prompt_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not self.temperatures or any(not 0 <= t < float("inf") for t in self.temperatures):
            raise InputError(f"temperature is {self.temperatures}; expected numbers of at least 0")


def evaluate_answers(
    path: str,
    settings: AnswerSettings,
    *,
    name: str | None = None,
    step: int | None = None,
    on_progress: Progress = lambda label, done, total: None,
) -> tuple[dict[str, Any], Path | None]:
    """Asks a run or a published folder, judges every answer, and keeps the numbers.

    Args:
        path: run directory or published folder.
        settings: what is asked.
        name: of the file; step-N-answers by default.
        step: which checkpoint of a run; the newest by default.
        on_progress: told what is done.

    Returns:
        `{schema, run, step, settings, prompts, results: [{temperature, reward, standard_error,
        means}], examples: [{temperature, prompt, answer, expected, reward}], environment}` and the
        path of evaluation/NAME.json in the run; None for a published folder, which is not written
        to.

    Raises:
        InputError: settings that do not fit, bad prompts, no tokenizer.
        FailureError: no run there.
    """
    tokenizer, problems = _problems(path, settings)
    reward = checked(AnswerReward(tokenizer, settings.weights, settings.place, 5.0))
    run = load_run(path, step, merge=False)
    results, examples = [], []
    for temperature in settings.temperatures:
        found = _ask(run, problems, settings, temperature, tokenizer, reward, on_progress)
        results.append(found[0])
        examples += found[1]
    document = {
        "schema": "26.1",
        "run": str(path),
        "step": run.step,
        "settings": dataclasses.asdict(replace(settings, weights=dict(settings.weights))),
        "prompts": len(problems),
        "results": results,
        "examples": examples,
        "environment": environment(),
    }
    if "kind" not in read_config(path) or run.experiment.kind == read_config(path)["kind"]:
        return document, None
    file = as_path(path) / "evaluation" / f"{name or f'step-{run.step}-answers'}.json"
    write_atomically(file, dump(document).encode())
    return document, file


def _problems(path: str, settings: AnswerSettings) -> tuple[PretrainedTokenizer, Problems]:
    """The tokenizer and the prompts, before weights are read."""
    tokenizer = tokenizer_of(path)
    if tokenizer is None:
        raise InputError(f"{path} has no tokenizer, so nothing can be asked in words")
    records = read_records(settings.data)
    problems = Problems(
        Part(records, 0, min(settings.count, len(records))),
        tokenizer,
        length=settings.prompt_tokens,
        template=settings.template,
        overflow="error",
    )
    problems.check_answers()
    return tokenizer, problems


def _ask(
    run: Run,
    problems: Problems,
    settings: AnswerSettings,
    temperature: float,
    tokenizer: PretrainedTokenizer,
    reward: Any,
    on_progress: Progress,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Numbers and a few answers at one temperature."""
    samples = settings.samples if temperature else 1
    sampler = autoregressive(
        run.model,
        max_new_tokens=settings.max_new_tokens,
        eos=problems.vocabulary.eos,
        pad=tokenizer.pad,
        temperature=temperature,
        samples=samples,
    )
    longest = max(len(problems.problem(i).tokens) for i in range(len(problems)))
    widths, rows = Buckets((longest,), 2), min(settings.batch_size, len(problems))
    kept: dict[str, list[np.ndarray]] = {}
    shown: list[dict[str, Any]] = []
    for first in range(0, len(problems), rows):
        on_progress(f"temperature {temperature:g}", first, len(problems))
        places = range(first, min(first + rows, len(problems)))
        asked = [problems.problem(i) for i in places]
        filled = asked + asked[-1:] * (rows - len(asked))
        prompts = encode_prompts(problems.vocabulary, filled, widths)
        key = jax.random.fold_in(jax.random.key(settings.seed), first)
        completions = draw(sampler, run.params, prompts, key, None)
        real = len(asked) * samples
        completions = jax.tree.map(lambda x, real=real: x[:real], completions)
        answered = [problem for problem in asked for _ in range(samples)]
        found = reward(answered, completions)
        numbers = {"reward": found.values, **found.breakdown, "tokens": completions.lengths}
        for name, values in numbers.items():
            kept.setdefault(name, []).append(np.asarray(values, np.float64))
        if not shown:
            texts = completion_texts(completions, tokenizer)[:SHOWN]
            for row, text in enumerate(texts):
                record = answered[row].record
                shown.append(
                    {
                        "temperature": temperature,
                        "prompt": tokenizer.decode(answered[row].tokens, skip_special=False),
                        "answer": text,
                        "expected": record.answer,
                        "reward": float(found.values[row]),
                    }
                )
    means = {name: float(np.concatenate(parts).mean()) for name, parts in kept.items()}
    by_prompt = np.concatenate(kept["reward"]).reshape(-1, samples).mean(axis=1)
    error = by_prompt.std(ddof=1) / len(by_prompt) ** 0.5 if len(by_prompt) > 1 else None
    return {
        "temperature": temperature,
        "reward": means.pop("reward"),
        "standard_error": None if error is None else float(error),
        "means": means,
    }, shown


def answer_text(
    run: Run,
    tokenizer: PretrainedTokenizer,
    prompt: str,
    *,
    chat: bool = True,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """The answer of a model to a user's turn, or without `chat` how it goes on with a text.

    Raises:
        InputError: an empty prompt, one that the template refuses, or numbers out of range.
    """
    turn = {"role": "user", "content": prompt}
    ids = tokenizer.encode_chat([turn], True) if chat else tokenizer.encode(prompt, special=True)
    if not len(ids):
        raise InputError("prompt is empty; expected text")
    sampler = autoregressive(
        run.model,
        max_new_tokens=max_new_tokens,
        eos=tokenizer.stops,
        pad=tokenizer.pad,
        temperature=temperature,
    )
    tokens = np.full((1, padded(len(ids))), tokenizer.pad, np.int32)
    tokens[0, : len(ids)] = ids
    prompts: Any = {"tokens": tokens, "lengths": np.array([len(ids)], np.int32)}
    return completion_texts(sampler(run.params, prompts, jax.random.key(seed)), tokenizer)[0]

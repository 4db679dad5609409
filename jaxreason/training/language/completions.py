"""Completions as text files: what one looks at first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.rewards import Reward
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.files import write_atomically
from jaxreason.training.rollouts import Rollout
from jaxreason.types import Completions

FOLDER = "completions"


def completion_texts(completions: Completions, tokenizer: PretrainedTokenizer) -> list[str]:
    """Completions without their end token as text, numpy arrays given."""
    tokens, lengths = np.asarray(completions.tokens), np.asarray(completions.lengths)
    kept = lengths - np.asarray(completions.finished).astype(lengths.dtype)
    return [tokenizer.decode(row[:count]) for row, count in zip(tokens, kept, strict=True)]


class CompletionFiles:
    """Writes a few completions per evaluation to `completions/` of a run.

    A run that goes on writes the same files again. Only the first of several processes writes.

    Args:
        run: its directory.
        tokenizer: of the model.
        count: completions in a file; 0 writes none.
        every: rollouts are shown at every so many steps; 0 shows none.
    """

    def __init__(self, run: Path, tokenizer: PretrainedTokenizer, count: int, every: int) -> None:
        self._run, self._tokenizer, self._count, self._every = run, tokenizer, count, every

    def held_out(
        self, step: int, problems: Sequence[Any], completions: Completions, reward: Reward
    ) -> None:
        """Greedy answers to held-out prompts; a `held_out.Watch`."""
        texts = completion_texts(completions, self._tokenizer)
        parts = []
        for row, problem in enumerate(problems[: self._count]):
            length, ended = int(completions.lengths[row]), bool(completions.finished[row])
            head = _judged(reward, row, length, ended)
            prompt = self._tokenizer.decode(problem.tokens, skip_special=False)
            parts.append(_entry(row, head, prompt, texts[row], problem.record.answer))
        self._write(f"held_out-{step:08d}.txt", f"held-out prompts, greedy, step {step}", parts)

    def rollout(self, step: int, rollout: Rollout) -> None:
        """Sampled answers that a step is about to learn from; a `reinforcement.RolloutWatch`."""
        if not self._every or step % self._every:
            return
        parts = []
        for row in range(min(self._count, len(rollout.lengths))):
            tokens, mask = rollout.batch["tokens"][row], rollout.batch["targets_mask"][row]
            before = rollout.batch["segments"][row].astype(bool) & ~mask
            head = _judged(
                rollout.reward, row, int(rollout.lengths[row]), bool(rollout.finished[row])
            )
            prompt = self._tokenizer.decode(tokens[before], skip_special=False)
            answer = self._tokenizer.decode(tokens[mask], skip_special=False)
            parts.append(_entry(row, head, prompt, answer, None))
        self._write(f"rollout-{step:08d}.txt", f"sampled in training, after step {step}", parts)

    def plain(self, step: int, prompts: Sequence[str], answers: Sequence[str], what: str) -> None:
        """Answers that nobody judges."""
        pairs = list(zip(prompts, answers, strict=True))[: self._count]
        parts = [_entry(row, "", *pair, None) for row, pair in enumerate(pairs)]
        self._write(f"held_out-{step:08d}.txt", f"{what}, step {step}", parts)

    def _write(self, name: str, title: str, parts: Sequence[str]) -> None:
        if self._count and jax.process_index() == 0:
            text = f"{title}\n\n" + "\n".join(parts)
            write_atomically(self._run / FOLDER / name, text.encode("utf-8", "replace"))


def _judged(reward: Reward, row: int, length: int, ended: bool) -> str:
    values: Mapping[str, np.ndarray] = reward.breakdown
    shown = ", ".join(f"{name} {values[name][row]:g}" for name in values if values[name][row])
    end = "" if ended else ", cut off by the limit"
    return f"reward {reward.values[row]:g} ({shown or 'nothing'}), {length} tokens{end}"


def _entry(row: int, head: str, prompt: str, answer: str, expected: str | None) -> str:
    lines = [f"===== {row + 1} {head}".rstrip(), "--- prompt", prompt, "--- answer", answer]
    if expected is not None:
        lines += ["--- expected", expected]
    return "\n".join([*lines, ""])

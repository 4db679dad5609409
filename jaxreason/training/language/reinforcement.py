"""Reinforcement learning of a language model on prompts with verifiable answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxreason.data.language import DataConfig
from jaxreason.errors import InputError
from jaxreason.rewards import Reward, RewardFunction
from jaxreason.rewards.answer_formats import FORMS, check_weights
from jaxreason.rewards.math_answers import RECIPES, VERDICTS, AnswerPlace
from jaxreason.rewards.math_judge import check_math_verify
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.held_out import Watch
from jaxreason.training.language.base import LanguagePostTraining
from jaxreason.training.language.completions import CompletionFiles
from jaxreason.training.language.problems import AnswerReward, Problems, PromptVocabulary
from jaxreason.training.left_out import counted, named, say
from jaxreason.training.policy_training import PolicyTraining
from jaxreason.training.prompt_rows import Buckets, Task
from jaxreason.training.reinforcement import RolloutWatch
from jaxreason.training.runs import Run
from jaxreason.types import Completions


@dataclass(frozen=True)
class LanguageReinforcement(LanguagePostTraining, PolicyTraining):
    """Online RL of a language model on prompts with verifiable answers.

    Attributes:
        base: a published folder, or a run directory, of the model to start from.
        base_step: which checkpoint of a run; the newest by default.
        data: the prompts to learn on.
        evaluation: the prompts to evaluate on; without a path the last `held_out` ones of `data`,
            which are not trained on then.
        held_out: prompts answered at every evaluation, greedily and not.
        method: name of a published algorithm, see `jaxreason.objectives.algorithms`.
        overrides: fields of its `AlgorithmConfig` that are to differ, such as `clip_high 0.3`.
        recipe: weights of verdict and forms by name, see `rewards.math_answers.RECIPES`; a
            subclass may have any `reward`.
        weights: weights that differ from the recipe's, such as `boxed 0.1`.
        place: where answers are looked for: "boxed", "tagged", "hashes", or "any" of these.
        answer_seconds: limit of one comparison of answers.
        rollout: how many completions a step learns from, and how they are drawn.
        prompt_tokens: most tokens of a prompt.
        overflow: what to do about longer ones: "error", "drop" or "truncate_left".
        buckets: widths that prompts, and prompts with completions, are padded to; each is compiled.
        tokenizer: folder of the tokenizer; "" for that of the base.
        template: "chat" or "plain"; see `LanguagePostTraining`.
        shown: completions written as text to completions/ of the run at every evaluation.
        remat: what the backward pass keeps; see `TransformerConfig`, as for `unroll`.
        unroll: layers that are compiled apart, which decodes faster; 0 leaves it to the model.
        optimizer: of the policy; a step makes `rollout.epochs` x `rollout.minibatches` updates.
        auxiliary_rate: learning rate of the critic or reward model over the policy's.
        params_dtype: "bfloat16" stores the parameters in bfloat16 (moments: see `optimizer`).
        mask: file of a saved update mask; only the weights in it are trained.
        mask_placement: "update" freezes the others for good; "gradient" masks gradients just
            before the optimizer, as Mukherjee et al. 2025 do.
        train: lengths and intervals; a step is a rollout with its updates.
        mesh: how devices are arranged.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        lora: train low-rank updates and nothing else; see `PostTraining`.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    evaluation: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    recipe: str = "correct"
    weights: dict[str, float] = field(default_factory=dict)
    place: AnswerPlace = "any"
    answer_seconds: float = 5.0
    prompt_tokens: int = 512
    overflow: Literal["error", "drop", "truncate_left"] = "error"
    buckets: int = 2

    kind = "language_reinforcement"
    kinds: ClassVar[tuple[str, ...]] = ("prompts",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe not in RECIPES:
            raise InputError(f"recipe is {self.recipe!r}; expected one of {', '.join(RECIPES)}")
        check_weights(self.all_weights(), dict.fromkeys([*VERDICTS, *FORMS]))
        if self.place not in ("any", "boxed", "tagged", "hashes"):
            raise InputError(f"place is {self.place!r}; expected any, boxed, tagged or hashes")
        if self.overflow not in ("error", "drop", "truncate_left"):
            raise InputError(
                f"overflow is {self.overflow!r}; expected error, drop or truncate_left"
            )
        for name in ("prompt_tokens", "buckets"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.answer_seconds < float("inf"):
            raise InputError(f"answer_seconds is {self.answer_seconds}; expected more than 0")

    def all_weights(self) -> dict[str, float]:
        """The recipe's weights with those that differ."""
        return {**RECIPES[self.recipe], **self.weights}

    def reward(self, tokenizer: PretrainedTokenizer) -> RewardFunction:
        """The verifier: `(problems, completions) -> Reward`, a problem having a `record`.

        Raises:
            InputError: math-verify is not installed.
        """
        check_math_verify()
        return AnswerReward(tokenizer, self.all_weights(), self.place, self.answer_seconds)

    def widths(self) -> Buckets:
        """To what rows are padded."""
        limits = self.prompt_tokens, self.prompt_tokens + self.rollout.max_new_tokens
        return Buckets(limits, self.buckets)

    def task(self, base: Run) -> Task:
        """The prompts, encoded, and their verifier."""
        tokenizer = self.open_tokenizer(base.model)
        reward = self.reward(tokenizer)
        ask = partial(
            Problems,
            tokenizer=tokenizer,
            length=self.prompt_tokens,
            template=self.template,
            overflow=self.overflow,
        )
        records, others = self.records()
        trained = named("data", lambda: ask(records))
        held_out = named("held-out data", lambda: ask(others))
        if isinstance(reward, AnswerReward):
            trained.check_answers()
            held_out.check_answers()
        return Task(trained, held_out, reward, self.widths(), trained.identity)

    def asked(self, task: Task) -> tuple[int, int]:
        """All prompts that are not too long."""
        return len(task.source), len(task.held_out)

    def left_out(self, task: Task, progress: bool) -> dict[str, float]:
        """Tells how many prompts are too long."""
        for name, problems in (("data", task.source), ("held-out data", task.held_out)):
            after = f"prompt_tokens {self.prompt_tokens}"
            say(counted(name, problems.counts, "prompts", after), progress)
        return {
            "prompts_dropped": float(task.source.dropped),
            "prompts_truncated": float(task.source.truncated),
        }

    def watches(self, run: Path, task: Task) -> tuple[RolloutWatch | None, Watch | None]:
        """Completions are written as text."""
        tokenizer = task.source.tokenizer
        files = CompletionFiles(run, tokenizer, self.shown, self.train.evaluate_every)
        return files.rollout, files.held_out

    def longest_prompts(self) -> tuple[Task, int, dict[str, Any]]:
        """For compiling ahead: a task without data, the longest prompt, and prompts as shapes."""
        # Which ids end an answer changes nothing of the programs that matters.
        source = _NoProblems(PromptVocabulary(0, (0,)))
        widths, rows = self.widths(), self.rollout.prompts
        prompts = {
            "tokens": jax.ShapeDtypeStruct((rows, widths(self.prompt_tokens)), jnp.int32),
            "lengths": jax.ShapeDtypeStruct((rows,), jnp.int32),
        }
        return Task(source, source, _unjudged, widths), self.prompt_tokens, prompts


class _NoProblems(NamedTuple):
    vocabulary: PromptVocabulary

    def problem(self, index: int) -> Any:
        raise TypeError("no prompt is asked when a run is compiled ahead")


def _unjudged(problems: Sequence[Any], completions: Completions) -> Reward:
    raise TypeError("nothing is judged when a run is compiled ahead")

"""Reinforcement learning of LLaDA, MMaDA and runs that started from them, on questions in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from jaxreason.data.language import DataConfig
from jaxreason.data.language.records import PromptRecord
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.paths import as_path
from jaxreason.rewards.answer_formats import FORMS, check_weights
from jaxreason.rewards.math_answers import RECIPES, VERDICTS, AnswerPlace, math_reward
from jaxreason.rewards.math_judge import check_math_verify
from jaxreason.rewards.reward import Reward
from jaxreason.rewards.word_answers import word_reward
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_base import (
    INSTRUCTIONS,
    TextCoder,
    check_ends,
    text_ids,
)
from jaxreason.training.diffusion.language_task import (
    LanguageAnswers,
    TextReward,
    decoded,
    encode_questions,
    held_out_texts,
    language_sampler,
)
from jaxreason.training.diffusion.pictured_prompts import (
    PictureCoder,
    PictureConfig,
    picture_of,
)
from jaxreason.training.diffusion.policy_training import (
    Asked,
    DiffusionPolicyTraining,
    policy_program,
)
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.language.base import LanguagePostTraining
from jaxreason.training.language.completions import CompletionFiles
from jaxreason.training.left_out import counted, say, with_numbers
from jaxreason.training.loop import TrainResult
from jaxreason.training.program import run_program
from jaxreason.training.reinforcement import RolloutWatch
from jaxreason.training.rollouts import PromptStream
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run

LENGTH = 256
"""Tokens of an answer, as LLaDA and d1 evaluate."""

CHOICES: dict[str, Any] = {
    "instruction": INSTRUCTIONS,
    "overflow": ("error", "drop"),
    "recipe": RECIPES,
    "answers": ("math", "words"),
    "place": ("any", "boxed", "tagged", "hashes"),
    "compute_dtype": ("base", "float32", "bfloat16"),
}


@dataclass(frozen=True)
class DiffusionLanguageReinforcement(LanguagePostTraining, DiffusionPolicyTraining):
    """Online RL of a masked diffusion language model on questions whose answers can be checked.

    Answers are drawn as published code draws them, a prompt and its answer alone in a row; see
    `language_task`.

    Attributes:
        base: a published folder of LLaDA or MMaDA, or a run directory that started from one.
        data: the questions, of kind "prompts".
        evaluation: the questions to evaluate on; without a path the last `held_out` ones of
            `data`, which are not trained on then.
        held_out: questions answered at every evaluation, greedily.
        held_out_batch: of them, answered together.
        template: "chat" asks in the tokenizer's chat template; "mmada" in MMaDA's own layout.
        instruction: what is put before a question: "none", "mmada" (think first, then answer) or
            "d1" (the tags <reasoning> and <answer>).
        prompt_tokens: most tokens of a prompt, those of a picture aside.
        overflow: what to do about longer ones: "error" or "drop".
        recipe: weights of verdict and forms by name, see `rewards.math_answers.RECIPES`.
        weights: weights that differ from the recipe's, such as `boxed 0.1`.
        answers: "math" compares them as mathematics (GSM8K, MATH), "words" letter by letter
            (CLEVR, multiple choice).
        place: where answers are looked for: "boxed", "tagged", "hashes", or "any" of these.
        answer_seconds: limit of one comparison of answers.
        pictures: of questions about pictures.
        compute_dtype: of the blocks; "base" takes that of the base.

    The other fields are those of `LanguagePostTraining` and `DiffusionPolicyTraining`;
    `decoding.length` must be given.
    """

    decoding: DecodingConfig = field(
        default_factory=lambda: DecodingConfig(length=LENGTH, block=32, temperature=1.0)
    )
    data: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    evaluation: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    held_out_batch: int = 32
    template: Literal["chat", "mmada"] = "chat"  # type: ignore[assignment]
    instruction: Literal["none", "mmada", "d1"] = "mmada"
    prompt_tokens: int = 512
    overflow: Literal["error", "drop"] = "error"
    recipe: str = "mmada"
    weights: dict[str, float] = field(default_factory=dict)
    answers: Literal["math", "words"] = "math"
    place: AnswerPlace = "any"
    answer_seconds: float = 5.0
    pictures: PictureConfig = field(default_factory=PictureConfig)
    compute_dtype: Literal["base", "float32", "bfloat16"] = "base"

    kind = "diffusion_language_reinforcement"
    kinds: ClassVar[tuple[str, ...]] = ("prompts",)
    templates: ClassVar[tuple[str, ...]] = ("chat", "mmada")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_temperature("temperature")
        for name in ("held_out_batch", "prompt_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        check_weights(self.all_weights(), dict.fromkeys([*VERDICTS, *FORMS]))
        if not 0 < self.answer_seconds < float("inf"):
            raise InputError(f"answer_seconds is {self.answer_seconds}; expected more than 0")
        if self.decoding.length < 1:
            raise InputError("decoding.length is 0; give the tokens of an answer")

    def all_weights(self) -> dict[str, float]:
        """The recipe's weights with those that differ."""
        return {**RECIPES[self.recipe], **self.weights}

    def _numerics(self, model: Transformer) -> Transformer:
        changed = super()._numerics(model)
        if self.compute_dtype == "base":
            return changed
        return Transformer(replace(changed.config, dtype=self.compute_dtype))

    def coder(self, base: Run) -> TextCoder:
        """Messages to prompts and answers to text.

        Raises:
            InputError: a base that is no diffusion model of text, or has no tokenizer of its own.
        """
        ids = text_ids(base.experiment, self.base)
        tokenizer = self.open_tokenizer(base.model)
        check_ends(tokenizer, ids, self.base)
        return TextCoder(tokenizer, ids, self.template, INSTRUCTIONS[self.instruction])

    def questions(
        self,
        records: Sequence[PromptRecord],
        coder: TextCoder,
        data: DataConfig | None = None,
        pictures: PictureCoder | None = None,
    ) -> LanguageAnswers:
        """Records as prompts.

        Args:
            records: what is asked.
            coder: of the model.
            data: where they come from, for their pictures.
            pictures: how pictures are shown; None if there are none.

        Raises:
            InputError: a record that cannot be asked or judged, or a prompt that is too long.
        """
        picture = partial(picture_of, data=data or self.data, shown=pictures is not None)
        found = encode_questions(records, coder, self.prompt_tokens, self.overflow, picture)
        return LanguageAnswers(found, coder, self.prompt_tokens, pictures)

    def text_reward(self) -> TextReward:
        """The verifier: `(records, texts) -> Reward`; a subclass may have any.

        Raises:
            InputError: math-verify is not installed.
        """
        judge: Callable[..., Reward] = partial(word_reward, place=self.place)
        if self.answers == "math":
            check_math_verify()
            judge = partial(math_reward, place=self.place, seconds=self.answer_seconds)
        judge = partial(judge, weights=self.all_weights())
        return lambda records, texts: judge([record.answer for record in records], texts)

    def asked(
        self, base: Run, task: LanguageAnswers, reward: Any, watch: RolloutWatch | None = None
    ) -> Asked:
        """What the policy is asked, and how it answers."""
        sampler, steps = language_sampler(base.model, task.coder, self.decoding, self.rollout.group)
        return Asked(task, sampler, steps, reward, task.coder.ids.mask, "bool", watch)

    def planned(self, base: Run) -> tuple[Asked, dict[str, Any]]:
        """What is compiled ahead: the policy, and prompts as long as they may be.

        Raises:
            InputError: a base that is no diffusion model of text.
        """
        nobody: Any = None  # nothing is encoded here
        coder = TextCoder(nobody, text_ids(base.experiment, self.base), self.template, "")
        task = LanguageAnswers([], coder, self.prompt_tokens)
        count, length = self.rollout.prompts, self.prompt_tokens + self.pictures.room()
        tokens = np.full((count, length), coder.ids.eos, np.int32)
        prompts = {"tokens": tokens, "lengths": np.full(count, length, np.int32)}
        return self.asked(base, task, None), prompts

    def _left_out(
        self, given: int, task: LanguageAnswers, others: int, held_out: LanguageAnswers, told: bool
    ) -> dict[str, float]:
        """Tells how many prompts are too long; numbers for every evaluation."""
        for name, all_of_them, kept in (
            ("data", given, len(task.questions)),
            ("held-out data", others, len(held_out.questions)),
        ):
            counts = {"kept": kept, "dropped": all_of_them - kept}
            say(counted(name, counts, "prompts", f"prompt_tokens {self.prompt_tokens}"), told)
        return {"prompts_dropped": float(given - len(task.questions))}

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields, data or base that do not fit, or a directory of another experiment.
            FailureError: see `training.loop.train`; no base, or files that cannot be read.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        mesh = self.device_mesh()
        self.check_rows(mesh)
        # Tokenizer and data first: the weights may take minutes to read.
        shapes, reward = self.base_shapes(), self.text_reward()
        coder = self.coder(shapes)
        pictures = self.pictures.coder(shapes.experiment, coder.tokenizer)
        trained, others = self.records()
        task = self.questions(trained, coder, self.data, pictures)
        apart = self.evaluation.path or self.evaluation.tfds
        held_out = self.questions(others, coder, self.evaluation if apart else self.data, pictures)
        run, config = as_path(run_directory), self.run_json()
        data: dict[str, Any] = {"records": trained.identity, "words": coder.tokenizer.identity}
        if pictures is not None:
            data["pictures"] = dict(pictures.codec.identity)
        count = len(task.questions)
        PromptStream(count, self.rollout.prompts, self.train.seed)  # refuses too few at once
        left_out = self._left_out(len(trained), task, len(others), held_out, progress)
        self.begin(run, config)
        files = CompletionFiles(run, coder.tokenizer, self.shown, self.train.evaluate_every)
        base, clock = self.load_base(), Clock()
        stream = PromptStream(
            count, self.rollout.prompts, self.train.seed, fingerprint(base.params), data
        )
        judge = decoded(reward, coder)
        asked = self.asked(base, task, judge, files.rollout)
        return run_program(
            run,
            policy_program(self, base.model, self.initial_params(base), asked, mesh, clock),
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=stream,
            config_json=config,
            evaluate_fn=with_numbers(
                held_out_texts(
                    base.model,
                    held_out,
                    judge,
                    self.decoding,
                    self.held_out_batch,
                    mesh,
                    files.held_out,
                ),
                lambda: left_out,
            ),
            clock=clock,
            updates_per_step=self.updates_per_step(),
            evaluate_at_start=True,
            progress=progress,
        )

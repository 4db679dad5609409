"""Reinforcement learning of LLaDA, MMaDA and runs that started from them, on questions in words."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxreason.data.language import DataConfig, read_records
from jaxreason.data.language.records import PromptRecord
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.config import Remat
from jaxreason.rewards.answer_formats import FORMS, check_weights
from jaxreason.rewards.math_answers import RECIPES, VERDICTS, AnswerPlace, math_reward
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_base import (
    INSTRUCTIONS,
    LAYOUTS,
    ChatLayout,
    TextCoder,
    text_ids,
    text_tokenizer,
)
from jaxreason.training.diffusion.language_task import (
    LanguageAnswers,
    TextReward,
    Texts,
    decoded,
    encode_questions,
    held_out_texts,
    language_sampler,
)
from jaxreason.training.diffusion.policy_training import (
    Asked,
    DiffusionPolicyTraining,
    policy_program,
)
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.loop import TrainResult
from jaxreason.training.pretrained import keep_tokenizer
from jaxreason.training.program import run_program
from jaxreason.training.rollouts import PromptStream, Rollout
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run

LENGTH = 256
"""Tokens of an answer, as LLaDA and d1 evaluate."""


@dataclass(frozen=True)
class DiffusionLanguageReinforcement(DiffusionPolicyTraining):
    """Online RL of a masked diffusion language model on questions whose answers can be checked.

    Answers are drawn as published code draws them, one prompt and nothing else in a row; see
    `language_task`. What a model reveals of each step's answers is kept as text in `completions/`.

    Attributes:
        data: the questions, of kind "prompts".
        held_out_data: others, answered greedily at every evaluation; without a path none are.
        held_out: so many of them.
        tokenizer: folder of the base's tokenizer; "" takes the one that lies with the base.
        chat: "template" asks in the tokenizer's chat template; "mmada" in MMaDA's own layout.
        instruction: what is put before a question: "none", "mmada" (think first, then answer) or
            "d1" (the tags <reasoning> and <answer>).
        prompt_length: tokens of a prompt, at most.
        overlong: "drop" leaves longer prompts out, "error" refuses them.
        recipe: weights of the reward by name, see `jaxreason.rewards.math_answers.RECIPES`.
        reward: other weights: name of a verdict to what it earns; without any those of `recipe`.
        answer_place: where the answer stands, see `find_answer`.
        remat: what the backward pass keeps, see `TransformerConfig`.
        compute_dtype: of the blocks; "base" takes that of the base.
        kept_prompts: prompts of a step whose answers are kept as text, every `train.log_every`.
        held_out_batch: held-out questions decoded together.

    The other fields are those of `DiffusionPolicyTraining`; `decoding.length` must be given.
    """

    decoding: DecodingConfig = field(
        default_factory=lambda: DecodingConfig(length=LENGTH, block=32, temperature=1.0)
    )
    data: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    held_out_data: DataConfig = field(default_factory=lambda: DataConfig(kind="prompts"))
    held_out: int = 200
    tokenizer: str = ""
    chat: ChatLayout = "template"
    instruction: Literal["none", "mmada", "d1"] = "mmada"
    prompt_length: int = 512
    overlong: Literal["error", "drop"] = "error"
    recipe: str = "mmada"
    reward: dict[str, float] = field(default_factory=dict)
    answer_place: AnswerPlace = "any"
    remat: Remat = "none"
    compute_dtype: Literal["base", "float32", "bfloat16"] = "base"
    kept_prompts: int = 1
    held_out_batch: int = 32

    kind = "diffusion_language_reinforcement"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_temperature("temperature")
        least = {"held_out": 1, "prompt_length": 1, "kept_prompts": 0, "held_out_batch": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {minimum}")
        choices: dict[str, Any] = {
            "chat": LAYOUTS,
            "instruction": INSTRUCTIONS,
            "overlong": ("error", "drop"),
            "recipe": RECIPES,
            "compute_dtype": ("base", "float32", "bfloat16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        check_weights(self.weights(), dict.fromkeys([*VERDICTS, *FORMS]))
        if self.decoding.length < 1:
            raise InputError("decoding.length is 0; give the tokens of an answer")
        for name in ("data", "held_out_data"):
            kind = getattr(self, name).kind
            if kind != "prompts":
                raise InputError(f"{name}.kind is {kind!r}; expected 'prompts'")

    def weights(self) -> Mapping[str, float]:
        """Verdict to weight."""
        return self.reward or RECIPES[self.recipe]

    def load_base(self) -> Run:
        """See `PostTraining`; the model has this experiment's numerics."""
        return self._with_numerics(super().load_base())

    def base_shapes(self) -> Run:
        """See `PostTraining`; the model has this experiment's numerics."""
        return self._with_numerics(super().base_shapes())

    def _with_numerics(self, run: Run) -> Run:
        changes: dict[str, Any] = {"remat": self.remat}
        if self.compute_dtype != "base":
            changes["dtype"] = self.compute_dtype
        return run._replace(model=Transformer(dataclasses.replace(run.model.config, **changes)))

    def coder(self, base: Run) -> TextCoder:
        """Messages to prompts and answers to text.

        Raises:
            InputError: a base that is no diffusion model of text, or has no tokenizer of its own.
        """
        ids = text_ids(base.experiment, self.base)
        tokenizer = text_tokenizer(self.base, self.tokenizer, ids)
        if self.chat == "template" and not tokenizer.templates:
            raise InputError(
                f"chat is 'template', and the tokenizer of {self.tokenizer or self.base} has no "
                "chat template; give it one, or use `--chat mmada`"
            )
        return TextCoder(tokenizer, ids, self.chat, INSTRUCTIONS[self.instruction])

    def questions(self, data: DataConfig, coder: TextCoder) -> "Questions":
        """The encoded questions of a data set.

        Raises:
            InputError: a record without messages or answer, or a prompt that is too long.
            FailureError: files that cannot be read.
        """
        records = read_records(data)
        found = encode_questions(records, coder, self.prompt_length, self.overlong)
        return Questions(LanguageAnswers(found, coder, self.prompt_length), records.identity)

    def text_reward(self) -> TextReward:
        """The weighted verdicts on decoded answers."""
        judge = partial(math_reward, weights=self.weights(), place=self.answer_place)
        return lambda problems, texts: judge([problem.answer for problem in problems], texts)

    def asked(self, base: Run, task: LanguageAnswers, reward: Any, watch: Any = None) -> Asked:
        """What the policy is asked, and how it answers."""
        sampler, steps = language_sampler(base.model, task.coder, self.decoding, self.rollout.group)
        return Asked(task, sampler, steps, reward, task.coder.ids.mask, "bool", watch)

    def planned(self, base: Run) -> tuple[Asked, dict[str, Any]]:
        """What is compiled ahead: the policy, and prompts as long as they may be.

        Raises:
            InputError: a base that is no diffusion model of text.
        """
        nobody: Any = None  # nothing is encoded here
        coder = TextCoder(nobody, text_ids(base.experiment, self.base), self.chat, "")
        task = LanguageAnswers([], coder, self.prompt_length)
        count, length = self.rollout.prompts, self.prompt_length
        tokens = np.full((count, length), coder.ids.eos, np.int32)
        prompts = {"tokens": tokens, "lengths": np.full(count, length, np.int32)}
        return self.asked(base, task, None), prompts

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
        coder = self.coder(self.base_shapes())
        asked, reward = self.questions(self.data, coder), self.text_reward()
        first = asked.task.problem(0)
        reward([first], [first.answer])
        held_out = self._held_out(coder)
        keep_tokenizer(self.tokenizer or self.base, run_directory)
        base, clock, texts = self.load_base(), Clock(), Texts(run_directory, coder)
        stream = PromptStream(
            len(asked.task.questions),
            self.rollout.prompts,
            self.train.seed,
            fingerprint(base.params),
            data={"records": asked.identity, "tokenizer": coder.tokenizer.identity},
        )
        evaluate = None
        if held_out is not None:
            evaluate = held_out_texts(
                base.model, held_out, reward, self.decoding, self.held_out_batch, mesh, texts
            )
        judged = decoded(reward, coder)
        policy = self.asked(base, asked.task, judged, self._watch(asked.task, texts))
        return run_program(
            run_directory,
            policy_program(self, base.model, self.initial_params(base), policy, mesh, clock),
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=stream,
            config_json=self.run_json(),
            evaluate_fn=evaluate,
            clock=clock,
            updates_per_step=self.updates_per_step(),
            evaluate_at_start=True,
            progress=progress,
        )

    def _held_out(self, coder: TextCoder) -> LanguageAnswers | None:
        if not (self.held_out_data.path or self.held_out_data.tfds):
            return None
        count = self.held_out_data.count
        first = min(count, self.held_out) if count else self.held_out
        data = dataclasses.replace(self.held_out_data, count=first)
        return self.questions(data, coder).task

    def _watch(self, task: LanguageAnswers, texts: Texts) -> Any:
        """Keeps the texts of some steps' first answers."""
        rows = min(self.kept_prompts, self.rollout.prompts) * self.rollout.group

        def watch(number: int, indices: np.ndarray, rollout: Rollout) -> None:
            if not rows or (number + 1) % self.train.log_every:
                return
            group = self.rollout.group
            problems: list[PromptRecord] = [
                task.problem(int(indices[row // group])) for row in range(rows)
            ]
            texts.keep_rollout(number + 1, problems, rollout, rows)

        return watch


class Questions(NamedTuple):
    """A data set's questions.

    Attributes:
        task: prompts, problems and rows.
        identity: what says which they are, as plain JSON.
    """

    task: LanguageAnswers
    identity: Any

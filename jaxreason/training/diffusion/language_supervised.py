"""Supervised fine-tuning of LLaDA, MMaDA and runs that started from them, on conversations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from jax.sharding import Mesh

from jaxreason.data.language import DataConfig
from jaxreason.data.language.records import Messages
from jaxreason.data.multimodal.conversation_rows import OVERFLOWS, TASK, ConversationRows
from jaxreason.data.multimodal.mixing import mixed_batches
from jaxreason.errors import InputError
from jaxreason.models.attention import MASK_MODES
from jaxreason.objectives.diffusion.masked_cross_entropy import (
    MaskedDiffusionConfig,
    masked_diffusion,
)
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.paths import as_path
from jaxreason.sharding.placement import data_share
from jaxreason.tokens.chat import REASONING_INSTRUCTION, format_reasoning, parse_reasoning
from jaxreason.training.diffusion.checks import check_rows
from jaxreason.training.diffusion.held_out import validation_losses
from jaxreason.training.diffusion.language_base import TextCoder, check_ends, text_ids
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.language.base import LanguagePostTraining
from jaxreason.training.left_out import counted, say
from jaxreason.training.loop import TrainResult, train
from jaxreason.training.parts import TrainingParts, layout_shapes
from jaxreason.training.post_training import origin_json
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import given_params
from jaxreason.types import Params


@dataclass(frozen=True)
class DiffusionLanguageSupervised(LanguagePostTraining):
    """Fine-tuning of a masked diffusion language model on conversations (LLaDA, arXiv 2502.09992).

    Attributes:
        base: a published folder of LLaDA or MMaDA, or a run directory that started from one.
        data: conversations (kind "chat"), or prompts with answers (kind "prompts").
        evaluation: records to evaluate on; without a path the last `held_out` ones of `data`,
            which are not trained on then.
        held_out: how many of them, at most.
        length: tokens of a row: a prompt, its answer, and end tokens after it.
        rows: of a batch, of all processes together.
        overflow: what to do about conversations that are longer: "error" or "drop".
        template: "chat" is the tokenizer's chat template; "mmada" MMaDA's own layout.
        reasoning_mark: what stands between reasoning and final answer in the data's answers
            (#### in GSM8K), which become `<think> reasoning </think> answer`; "" leaves them alone.
        instruction: "mmada" puts its instruction to think first before questions whose answers
            reason in `<think>`; "none" nothing.
        objective: noise and normalisation; by default each answer counts as much as any other.

    The other fields are those of `LanguagePostTraining`.
    """

    data: DataConfig = field(default_factory=DataConfig)
    length: int = 1024
    rows: int = 8
    overflow: Literal["error", "drop"] = "error"
    template: Literal["chat", "mmada"] = "chat"  # type: ignore[assignment]
    reasoning_mark: str = ""
    instruction: Literal["none", "mmada"] = "mmada"
    objective: MaskedDiffusionConfig = field(
        default_factory=lambda: MaskedDiffusionConfig(
            coefficients=TaskCoefficients(lm_chat=1.0), normalisation="rows"
        )
    )
    shown: int = 0

    kind = "diffusion_language_supervised"
    kinds: ClassVar[tuple[str, ...]] = ("chat", "prompts")
    templates: ClassVar[tuple[str, ...]] = ("chat", "mmada")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("length", "rows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        choices: dict[str, Any] = {"overflow": OVERFLOWS, "instruction": ("none", "mmada")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        if self.shown:
            raise InputError(f"shown is {self.shown}; no answers are decoded here, expected 0")
        if self.objective.mask_mode != "bool":
            raise InputError(
                f"objective.mask_mode is {self.objective.mask_mode!r} of {', '.join(MASK_MODES)}; "
                "rows of conversations have no padding, so leave it at 'bool'"
            )

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other, the base or the data, or a directory of
                another experiment.
            FailureError: see `training.loop.train`; no base.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        run, mesh = as_path(run_directory), self.device_mesh()
        check_rows(self.rows, self.train.accumulation, mesh)
        # Tokenizer and data first: the weights may take minutes to read.
        coder = self.coder(self.base_shapes())
        records, held_out = self.records()
        source, others = self.source(records, coder), self.source(held_out, coder)
        dropped = {"data_dropped": float(source.dropped)}
        for name, rows in (("data", source), ("held-out data", others)):
            counts = {"kept": rows.count(TASK), "dropped": rows.dropped}
            say(counted(name, counts, "rows", f"length {self.length}"), progress)
        config = {**self.as_json(), "origin": origin_json(self.base)}
        self.begin(run, config)
        base, share = self.load_base(), data_share(mesh)
        params = self.initial_params(base)
        parts = self.parts_for(base, params, mesh)
        batches = mixed_batches(
            source,
            {TASK: self.rows},
            self.train.seed,
            text_dropout=0.0,
            share_index=share.index,
            share_count=share.count,
        )
        losses = validation_losses(parts.objective, lambda: others, {TASK: self.rows}, mesh, 0.0)
        return train(
            run,
            objective=parts.objective,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=batches,
            initial_params=params,
            mesh=mesh,
            evaluate_fn=lambda params, step: {**losses(params), **dropped},
            evaluate_at_start=True,
            config_json=config,
            optimizer=parts.optimizer,
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    def coder(self, base: Run) -> TextCoder:
        """Messages to prompts.

        Raises:
            InputError: a base that is no diffusion model of text, or has no tokenizer of its own.
        """
        ids = text_ids(base.experiment, self.base)
        tokenizer = self.open_tokenizer(base.model)
        check_ends(tokenizer, ids, self.base)
        return TextCoder(tokenizer, ids, self.template, "")

    def source(self, records: Sequence[Any], coder: TextCoder) -> ConversationRows:
        """The records as rows.

        Raises:
            InputError: a record that cannot be laid out or is too long; names file and line.
        """
        said = {"template": self.template, "mark": self.reasoning_mark, "told": self.instruction}
        return ConversationRows(
            records,
            prompt=partial(self._prompt, coder),
            answer=partial(self._answer, coder),
            length=self.length,
            fill=coder.ids.eos,
            overflow=self.overflow,
            identity={"tokenizer": coder.tokenizer.identity, **said},
        )

    def _reasoned(self, answer: str) -> str:
        """An answer with its reasoning between tags."""
        if not self.reasoning_mark:
            return answer
        reasoning, found, last = answer.rpartition(self.reasoning_mark)
        if not found:
            raise InputError(f"answer has no {self.reasoning_mark!r} (reasoning_mark)")
        return format_reasoning(reasoning.strip(), last.strip())

    def _prompt(self, coder: TextCoder, before: Messages, answer: str) -> np.ndarray:
        thinks = parse_reasoning(self._reasoned(answer)).reasoning is not None
        told = thinks and self.instruction == "mmada"
        return coder.prompt(before, REASONING_INSTRUCTION if told else "")

    def _answer(self, coder: TextCoder, answer: str) -> np.ndarray:
        """As the sampler should write it: MMaDA's texts end with the end token itself."""
        ids = coder.ids
        end = ids.eos if self.template == "mmada" or ids.eot is None else ids.eot
        return np.array([*coder.tokenizer.encode(self._reasoned(answer)), end], np.int32)

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run on this mesh compiles; needs no data."""
        base = self.base_shapes()
        return self.parts_for(base, self.stored(base.params), mesh)

    def parts_for(self, base: Run, params: Params, mesh: Mesh | None) -> TrainingParts:
        """What is compiled for these parameters, which may be shapes."""
        del mesh
        return TrainingParts(
            objective=masked_diffusion(
                base.model,
                mask_id=text_ids(base.experiment, self.base).mask,
                config=self.objective,
                chunk=self.loss_chunk or None,
            ),
            model_init=given_params(params),
            optimizer=self.optimizer_for(params),
            batch_shapes=[layout_shapes(self.rows, self.length)],
            flops_per_token=training_flops_per_token(params, self.length, causal=False),
        )

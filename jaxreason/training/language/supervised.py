"""Supervised fine-tuning of a language model on conversations or texts."""

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from jax.sharding import Mesh

from jaxreason.data import BatchConfig, training_batches
from jaxreason.data.language import language_source
from jaxreason.data.shares import check_streams
from jaxreason.errors import InputError
from jaxreason.objectives import next_token
from jaxreason.paths import as_path
from jaxreason.sharding.placement import data_share
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.experiment import run_batch, with_streams
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.language.base import LanguagePostTraining
from jaxreason.training.language.completions import CompletionFiles
from jaxreason.training.language.evaluation import (
    held_out_loss,
    prompts_of,
    with_answers,
    with_perplexity,
)
from jaxreason.training.left_out import (
    CountedBatches,
    counted,
    named,
    say,
    too_long,
    with_numbers,
)
from jaxreason.training.loop import TrainResult, train
from jaxreason.training.parts import TrainingParts, next_token_shapes
from jaxreason.training.post_training import origin_json
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import given_params
from jaxreason.types import Params


@dataclass(frozen=True)
class LanguageSupervised(LanguagePostTraining):
    """Supervised fine-tuning of a language model.

    Attributes:
        base: a published folder, or a run directory, of the model to start from.
        base_step: which checkpoint of a run; the newest by default.
        data: conversations (kind "chat") or texts (kind "text").
        evaluation: records to evaluate on; without a path the last `held_out` ones of `data`,
            which are not trained on then.
        held_out: how many of them, at most.
        batch: how records become rows; with `loss_on` "completion" only what the assistant says is
            learnt, with "all" everything.
        learn: "all" turns of the assistant, or the "last".
        tokenizer: folder of the tokenizer; "" for that of the base.
        template: "chat" or "plain"; see `LanguagePostTraining`.
        shown: held-out prompts answered at every evaluation, as text in completions/ of the run.
        shown_tokens: limit of such an answer.
        remat: what the backward pass keeps; see `TransformerConfig`, as for `unroll`.
        unroll: layers that are compiled apart, which decodes faster; 0 leaves it to the model.
        optimizer: AdamW and its schedule.
        params_dtype: "bfloat16" stores the parameters in bfloat16 (moments: see `optimizer`).
        mask: file of a saved update mask; only the weights in it are trained.
        mask_placement: "update" freezes the others for good; "gradient" masks gradients just
            before the optimizer, as Mukherjee et al. 2025 do.
        train: lengths and intervals.
        mesh: how devices are arranged.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        lora: train low-rank updates and nothing else; see `PostTraining`.
    """

    batch: BatchConfig = field(
        default_factory=lambda: BatchConfig(batch_size=16, length=2048, overflow="drop")
    )
    learn: Literal["all", "last"] = "all"
    shown_tokens: int = 256

    kind = "language_supervised"
    kinds: ClassVar[tuple[str, ...]] = ("chat", "text")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learn not in ("all", "last"):
            raise InputError(f"learn is {self.learn!r}; expected 'all' or 'last'")
        if self.shown_tokens < 1:
            raise InputError(f"shown_tokens is {self.shown_tokens}; it must be at least 1")
        self._check_unused()

    def _check_unused(self) -> None:
        """Refuse fields that would change nothing."""
        turns = any(config.kind == "chat" for config in (self.data, *self.mixed_with))
        if self.template == "plain" and not turns:
            raise InputError(
                "template is 'plain', but data.kind is 'text', which has no turns; leave it 'chat'"
            )
        reasons = {
            "data.kind is 'text', which has no turns": not turns,
            "template is 'plain', which has a single answer": self.template == "plain",
            "batch.loss_on is 'all', which learns everything": self.batch.loss_on == "all",
        }
        for reason, holds in reasons.items():
            if self.learn == "last" and holds:
                raise InputError(f"learn is 'last', but {reason}; leave it 'all'")

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other, the base or the data, or a directory of
                another experiment.
            FailureError: see `training.loop.train`; no base.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        run, mesh = as_path(run_directory), self.device_mesh()
        share = data_share(mesh)
        e = with_streams(self, run_directory, share.count)
        check_streams(e.batch.streams, share.count)
        batch = run_batch(e, mesh)
        # Tokenizer and data first: the weights may take minutes to read.
        tokenizer = e.open_tokenizer(e.described().model)
        records, held_out = e.records()
        source = e.source(records, tokenizer)
        batches = CountedBatches(
            training_batches(
                source,
                pad_id=tokenizer.pad,
                share_index=share.index,
                share_count=share.count,
                **_fields(batch),
            )
        )
        say(too_long("data", source, batch.length, batch.overflow), progress)
        evaluated = e.held_out_batches(held_out, tokenizer, progress)
        prompts = prompts_of(held_out, e.shown, tokenizer, e.template, e.batch.length)
        config = {**e.as_json(), "origin": origin_json(e.base)}
        e.begin(run, config)
        base = e.load_base()
        params = e.initial_params(base)
        parts = e.parts_for(base, params, mesh)
        losses = with_perplexity(held_out_loss(parts.objective, lambda: evaluated, mesh))
        evaluate = with_numbers(losses, batches.numbers)
        files = CompletionFiles(run, tokenizer, e.shown, 0)
        return train(
            run,
            objective=parts.objective,
            optimizer_config=e.optimizer,
            train_config=e.train,
            batches=batches,
            initial_params=params,
            mesh=mesh,
            evaluate_fn=with_answers(
                evaluate, base.model, tokenizer, prompts, e.shown_tokens, mesh, files, e.template
            ),
            evaluate_at_start=True,
            config_json=config,
            optimizer=parts.optimizer,
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    def source(self, records: Any, tokenizer: PretrainedTokenizer) -> Any:
        """The records as examples."""
        return language_source(records, tokenizer, template=self.template, learn=self.learn)

    def held_out_batches(
        self, records: Any, tokenizer: PretrainedTokenizer, progress: bool
    ) -> list[Any]:
        """All of the held-out records; too long ones are treated as in training, and told.

        Raises:
            InputError: one that is too long where training refuses such, or none is left.
        """
        # Every process makes all rows, so the numbers do not depend on how many there are.
        whole = replace(self.batch, packing="packed", buckets=None, epochs=1, streams=1)
        stream = iter(
            training_batches(
                self.source(records, tokenizer), pad_id=tokenizer.pad, prefetch=0, **_fields(whole)
            )
        )
        found = named("held-out data", lambda: list(stream))
        kept = len(records) - stream.dropped
        counts = {"kept": kept, "dropped": stream.dropped, "truncated": stream.truncated}
        after = f"batch.length {self.batch.length}"
        say(counted("held-out data", counts, "examples", after), progress)
        return found

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run on this mesh compiles; needs no data."""
        base = self.base_shapes()
        return self.parts_for(base, self.stored(base.params), mesh)

    def parts_for(self, base: Run, params: Params, mesh: Mesh | None) -> TrainingParts:
        """What is compiled for these parameters, which may be shapes."""
        return TrainingParts(
            objective=next_token(base.model, self.loss_chunk or None),
            model_init=given_params(params),
            optimizer=self.optimizer_for(params),
            batch_shapes=[next_token_shapes(*shape) for shape in run_batch(self, mesh).shapes],
            flops_per_token=training_flops_per_token(
                params, self.batch.length, windows=base.model.config.windows
            ),
        )


def _fields(batch: BatchConfig) -> dict[str, Any]:
    return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}

"""Preference learning of a language model from a file of preferences."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.language import DataConfig, pair_arrays
from jaxreason.errors import InputError
from jaxreason.objectives.pairs import SEQUENCES, check_preferences
from jaxreason.paths import as_path
from jaxreason.sharding.placement import agree, data_share
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.language.base import LanguagePostTraining
from jaxreason.training.language.completions import CompletionFiles
from jaxreason.training.language.evaluation import (
    Evaluation,
    held_out_loss,
    prompts_of,
    with_answers,
)
from jaxreason.training.left_out import named, say, with_numbers
from jaxreason.training.loop import TrainResult, train
from jaxreason.training.parts import TrainingParts, next_token_shapes
from jaxreason.training.post_training import origin_json
from jaxreason.training.preference_data import reference_log_probabilities
from jaxreason.training.preference_method import METHODS, PreferenceMethod, balanced_weight
from jaxreason.training.prompt_rows import padded
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import given_params
from jaxreason.training.stored_batches import (
    Arrays,
    StoredBatches,
    digest,
    read_arrays,
    write_arrays,
)
from jaxreason.types import Params

OFFLINE = tuple(name for name, method in METHODS.items() if method.beta is not None)


@dataclass(frozen=True)
class LanguagePreference(LanguagePostTraining, PreferenceMethod):
    """Offline preference learning of a language model.

    All pairs are encoded into memory; the log-probabilities of the frozen reference are computed
    once, before the first step, and kept in reference.npz of the run directory.

    Attributes:
        base: a published folder, or a run directory, of the model to start from.
        base_step: which checkpoint of a run; the newest by default.
        data: the preferences: of kind "preference", or for kto "labelled".
        evaluation: preferences to evaluate on; without a path the last `held_out` ones of `data`,
            which are not trained on then.
        held_out: how many of them, at most.
        method: "dpo", "dpo_norm" (length-normalised), "ipo", "kto", "orpo" or "simpo".
        beta: see `jaxreason.objectives`; by default 0.1, for dpo_norm 5 and for simpo 2.5.
        label_smoothing: of dpo and dpo_norm.
        average: ipo on averages per token; otherwise on sums.
        gamma: of simpo, in units of reward.
        likelihood_of: orpo's likelihood is that of the "completion" or of the whole "sequence".
        desirable_weight: of kto; by default such that both kinds weigh the same in all.
        undesirable_weight: of kto.
        length: most tokens of a prompt with its answer.
        overflow: what to do about longer ones: "error", "drop", "truncate_left" or
            "truncate_right".
        batch_size: pairs (or completions) per step, of all processes together.
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

    data: DataConfig = field(default_factory=lambda: DataConfig(kind="preference"))
    evaluation: DataConfig = field(default_factory=lambda: DataConfig(kind="preference"))
    length: int = 2048
    overflow: Literal["error", "drop", "truncate_left", "truncate_right"] = "drop"
    shown_tokens: int = 256

    kind = "language_preference"
    kinds: ClassVar[tuple[str, ...]] = ("preference", "labelled")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in OFFLINE:
            raise InputError(
                f"method is {self.method!r}; on a file of preferences expected one of "
                f"{', '.join(OFFLINE)}"
            )
        wanted = "labelled" if self.method == "kto" else "preference"
        for name in ("data", "evaluation"):
            if (kind := getattr(self, name).kind) != wanted:
                raise InputError(
                    f"{name}.kind is {kind!r}; method {self.method!r} learns from {wanted!r}"
                )
        for name in ("length", "shown_tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other, the base or the data, or a directory of
                another experiment.
            FailureError: see `training.loop.train`; no base.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        run, mesh = as_path(run_directory), self.device_mesh()
        self.check_rows(mesh)
        # Tokenizer and data first: the weights may take minutes to read.
        tokenizer = self.open_tokenizer(self.described().model)
        train_records, held_out = self.records()
        arrays, left_out = self._encoded("data", train_records, tokenizer, progress)
        others, _ = self._encoded("held-out data", held_out, tokenizer, progress)
        share = data_share(mesh)
        ordered = self.train.seed, share.index, share.count
        few = {"tokens": arrays["tokens"][: self.batch_size]}
        StoredBatches(few, self.batch_size, *ordered)  # refuses too few at once
        config = {**self.as_json(), "origin": origin_json(self.base)}
        self.begin(run, config)
        base = self.load_base()
        params = self.initial_params(base)
        parts = self.parts_for(
            base, params, self.shapes(arrays), balanced_weight(arrays, self.undesirable_weight)
        )
        if METHODS[self.method].reference:
            self._with_reference(run, base, params, arrays, others, mesh, progress)
        batches = StoredBatches(arrays, self.batch_size, *ordered)
        losses = held_out_loss(
            parts.objective, lambda: whole_batches(others, self.batch_size), mesh
        )
        evaluate = with_numbers(losses, lambda: left_out)
        return train(
            run,
            objective=parts.objective,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=batches,
            initial_params=params,
            mesh=mesh,
            evaluate_fn=self._showing(evaluate, base, tokenizer, held_out, mesh, run),
            evaluate_at_start=True,
            config_json=config,
            optimizer=parts.optimizer,
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run on this mesh compiles, its pairs as long as they may be; needs no data."""
        self.check_rows(mesh)
        base = self.base_shapes()
        rows = next_token_shapes(self.batch_size, padded(self.length))
        shapes = {
            name: jax.ShapeDtypeStruct((x.shape[0], 2, x.shape[1]), x.dtype)
            for name, x in rows.items()
        }
        if METHODS[self.method].reference:
            scores = jax.ShapeDtypeStruct((self.batch_size, 2), jnp.float32)
            shapes["reference_log_probabilities"] = scores
        if METHODS[self.method].rows == "labelled":
            shapes["desirable"] = jax.ShapeDtypeStruct((self.batch_size,), jnp.bool_)
        return self.parts_for(base, self.stored(base.params), shapes)

    def parts_for(
        self, base: Run, params: Params, shapes: Any, desirable_weight: float = 1.0
    ) -> TrainingParts:
        """What is compiled for batches of these shapes; parameters may be shapes."""
        return TrainingParts(
            objective=self.objective(base.model, desirable_weight),
            model_init=given_params(params),
            optimizer=self.optimizer_for(params),
            batch_shapes=[shapes],
            flops_per_token=training_flops_per_token(
                params, shapes["tokens"].shape[-1], windows=base.model.config.windows
            ),
        )

    def shapes(self, arrays: Arrays) -> dict[str, Any]:
        """Of a batch of these examples."""
        return {
            name: jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), x.dtype)
            for name, x in arrays.items()
        }

    def _encoded(
        self, name: str, records: Any, tokenizer: PretrainedTokenizer, progress: bool
    ) -> tuple[Arrays, dict[str, float]]:
        """The pairs, and how many were too long; tells the latter."""
        options = {"overflow": self.overflow, "seed": self.train.seed}
        found = named(
            name,
            lambda: pair_arrays(records, tokenizer, self.length, template=self.template, **options),
        )
        counts = ", ".join(f"{value} {what}" for what, value in found.summary.items())
        width = found.arrays["tokens"].shape[-1]
        say(f"{name}: {counts} (length {self.length}); {width} tokens a row", progress)
        return found.arrays, {
            f"data_{what}": float(found.summary[what]) for what in ("dropped", "truncated")
        }

    def _with_reference(
        self,
        run: Path,
        base: Run,
        params: Params,
        arrays: Arrays,
        others: Arrays,
        mesh: Mesh | None,
        progress: bool,
    ) -> None:
        """Adds `reference_log_probabilities` to both, computed or as kept in the run."""
        identity = json.loads(
            json.dumps(
                {
                    "data": [digest(arrays), digest(others)],
                    "base": fingerprint(base.params),
                    "reference": [str(x.dtype) for x in jax.tree.leaves(params)],
                }
            )
        )
        path, parts = run / "reference.npz", {"data": arrays, "held_out": others}
        if agree(path.exists())[0]:
            kept, about = read_arrays(path)
            differing = [name for name in identity if about.get(name) != identity[name]]
            if not differing:
                for name, part in parts.items():
                    part["reference_log_probabilities"] = kept[name]
                return
            if checkpoint_steps(run):
                raise InputError(
                    f"{path} was made with another {', '.join(differing)}, and the run has "
                    "checkpoints of training on it; restore data and base as they were then, or "
                    "start a new run"
                )
        for name, part in parts.items():
            say(f"scoring {len(part['tokens'])} pairs with the reference ({name})", progress)
            part["reference_log_probabilities"] = reference_log_probabilities(
                base.model, params, part, self.batch_size, self.loss_chunk or None, mesh
            )
            check_preferences(part, reference=True, labels="desirable" in part)
        if jax.process_index() == 0:
            scores = {name: part["reference_log_probabilities"] for name, part in parts.items()}
            write_arrays(path, scores, identity)

    def _showing(
        self,
        evaluate: Evaluation,
        base: Run,
        tokenizer: PretrainedTokenizer,
        records: Any,
        mesh: Mesh | None,
        run: Path,
    ) -> Evaluation:
        prompts = prompts_of(records, self.shown, tokenizer, self.template, self.length)
        files = CompletionFiles(run, tokenizer, self.shown, 0)
        return with_answers(
            evaluate, base.model, tokenizer, prompts, self.shown_tokens, mesh, files, self.template
        )


def whole_batches(arrays: Arrays, rows: int) -> list[Arrays]:
    """All rows in batches of equal shape, the last filled up with empty ones that count nothing."""
    count = len(arrays["tokens"])
    found = []
    for first in range(0, count, rows):
        batch = {name: x[first : first + rows] for name, x in arrays.items()}
        missing = rows - len(batch["tokens"])
        for name, x in batch.items():
            # Copies of the first row, for arrays that are not of tokens, must be in range too.
            filler = np.repeat(arrays[name][:1], missing, axis=0)
            if name in SEQUENCES and name != "tokens":
                filler = np.zeros_like(filler)
            batch[name] = np.concatenate([x, filler])
        found.append(batch)
    return found

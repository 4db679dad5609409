"""Preference learning, and supervised controls, from completions of a trained model."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives import dpo, ipo, kto, next_token, orpo, simpo
from jaxreason.objectives.preference_losses import check_settings
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.placement import data_share
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.files import claim, settle_config
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.held_out import held_out_rewards
from jaxreason.training.loop import TrainResult, train
from jaxreason.training.parts import TrainingParts
from jaxreason.training.post_training import PostTraining, origin_json, problem_source
from jaxreason.training.preference_data import Preparation, Prepared, prepare
from jaxreason.training.prompt_rows import Task
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import given_params
from jaxreason.training.stored_batches import Arrays, StoredBatches
from jaxreason.types import Objective, Params


class _Method(NamedTuple):
    """What a method learns from, whether it has a frozen reference, and its usual beta.

    `uses`: the settings of the experiment that it reads, besides beta.
    """

    rows: Literal["pairs", "labelled", "kept", "shown"]
    reference: bool
    beta: float | None
    uses: tuple[str, ...] = ()


METHODS: dict[str, _Method] = {
    "dpo": _Method("pairs", True, 0.1, ("label_smoothing", "pairs", "per_problem")),
    "dpo_norm": _Method("pairs", True, 5.0, ("label_smoothing", "pairs", "per_problem")),
    "ipo": _Method("pairs", True, 0.1, ("average", "pairs", "per_problem")),
    "kto": _Method("labelled", True, 0.1, ("desirable_weight", "undesirable_weight")),
    "orpo": _Method("pairs", False, 0.1, ("likelihood_of", "pairs", "per_problem")),
    "simpo": _Method("pairs", False, 2.5, ("gamma", "pairs", "per_problem")),
    "rft": _Method("kept", False, None, ("keep",)),
    "sft": _Method("shown", False, None),
}
_SETTINGS = (
    *("beta", "label_smoothing", "average", "gamma", "likelihood_of"),
    *("desirable_weight", "undesirable_weight", "pairs", "per_problem", "keep"),
)


@dataclass(frozen=True)
class PreferenceExperiment(PostTraining):
    """Offline post-training on completions of the base, judged by the verifier of its task.

    Completions are drawn once, before the first step, and kept in samples.npz of the run directory;
    data.npz holds what was made of them.

    Attributes:
        base: run directory of the model to start from.
        base_step: which of its checkpoints; the newest by default.
        method: "dpo", "dpo_norm" (length-normalised), "ipo", "kto", "orpo", "simpo"; "rft",
            supervised on the base's own right completions (rejection-sampling fine-tuning); or
            "sft", supervised on the solutions of the data, for the same problems.
        beta: see `jaxreason.objectives`; by default 0.1, for dpo_norm 5 and for simpo 2.5.
        label_smoothing: of dpo and dpo_norm.
        average: ipo on averages per token; otherwise on sums.
        gamma: of simpo, in units of reward.
        likelihood_of: orpo's likelihood is that of the "completion" or of the whole "sequence".
        desirable_weight: of kto; by default such that both kinds weigh the same in all.
        undesirable_weight: of kto.
        pairs: "on_policy": a right sample is chosen, a wrong one of the same problem rejected;
            "off_policy": the solution of the data is chosen.
        per_problem: pairs of a problem, at most.
        keep: what rft learns from: "all" right samples, the "distinct" ones, or "one" of each
            problem (RAFT).
        problem_changes: fields of the base's data to change, such as `generator kruskal`.
        sampling: how many problems, and how completions are drawn.
        samples_from: run directory of another method whose completions (samples.npz) are used
            instead of drawing the same ones again.
        batch_size: pairs (or completions) per step, of all processes together.
        held_out: problems of the validation split decoded greedily at every evaluation.
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

    method: str = "dpo"
    beta: float | None = None
    label_smoothing: float = 0.0
    average: bool = True
    gamma: float = 1.375
    likelihood_of: Literal["completion", "sequence"] = "completion"
    desirable_weight: float | None = None
    undesirable_weight: float = 1.0
    pairs: Literal["on_policy", "off_policy"] = "on_policy"
    per_problem: int = 4
    keep: Literal["all", "distinct", "one"] = "distinct"
    problem_changes: dict[str, str] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    samples_from: str | None = None
    batch_size: int = 32
    held_out: int = 200

    kind = "preference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in METHODS:
            raise InputError(f"method is {self.method!r}; expected one of {', '.join(METHODS)}")
        used = (*METHODS[self.method].uses, *["beta"] * (METHODS[self.method].beta is not None))
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name in _SETTINGS:
            if name not in used and getattr(self, name) != defaults[name]:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}, but method {self.method!r} does not use "
                    f"it; leave it at {defaults[name]!r}"
                )
        for name, choices in {
            "pairs": ("on_policy", "off_policy"),
            "keep": ("all", "distinct", "one"),
        }.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}"
                )
        for name in ("batch_size", "per_problem", "held_out"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.method == "kto" and self.train.accumulation > 1:
            raise InputError(
                f"train.accumulation is {self.train.accumulation}; the baseline of kto is taken "
                "over the whole batch, so it must be 1"
            )
        numbers = {n: getattr(self, n) for n in used if type(getattr(self, n)) in (int, float)}
        check_settings(**numbers)

    def objective(self, model: Transformer, desirable_weight: float) -> Objective:
        """What is minimised; `desirable_weight` stands in where the field is None.

        Raises:
            InputError: a setting out of range.
        """
        beta = METHODS[self.method].beta if self.beta is None else self.beta
        chunk = self.loss_chunk or None
        if beta is None:
            return next_token(model, chunk)
        if self.method in ("dpo", "dpo_norm"):
            normalise = self.method == "dpo_norm"
            smoothing = self.label_smoothing
            return dpo(model, beta, label_smoothing=smoothing, normalise=normalise, chunk=chunk)
        if self.method == "ipo":
            return ipo(model, beta, average=self.average, chunk=chunk)
        if self.method == "kto":
            weight = desirable_weight if self.desirable_weight is None else self.desirable_weight
            return kto(
                model,
                beta,
                desirable_weight=weight,
                undesirable_weight=self.undesirable_weight,
                chunk=chunk,
            )
        if self.method == "orpo":
            return orpo(model, beta, likelihood_of=self.likelihood_of, chunk=chunk)
        return simpo(model, beta, self.gamma, chunk=chunk)

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Draw completions and train on them in a run directory, or go on with what is there.

        Raises:
            InputError: fields that do not fit each other or the base, a directory of another
                experiment, or completions that give no example.
            FailureError: see `training.loop.train`; no base run.
        """
        check_run_directory(run_directory, self.train.tensorboard)
        base = self.load_base()
        mesh = self.device_mesh()
        self.check_rows(mesh)
        run = as_path(run_directory)
        config = {**self.as_json(), "origin": origin_json(self.base)}
        # All refusals come before the sampling, which may be long.
        begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
        settle_config(run, config, begun=begun, write=False)
        if jax.process_index() == 0:
            with claim(run):
                pass
        params = self.initial_params(base)
        self.optimizer_for(params)
        data = self._data(run, base, params, mesh, progress)
        arrays = data.arrays
        parts = self.parts_for(
            base, params, arrays, balanced_weight(arrays, self.undesirable_weight)
        )
        share = data_share(mesh)
        problems = base.experiment.source(split="validation", count=self.held_out)
        task = Task(None, problems, base.experiment.reward)
        drawn = {n: getattr(self.sampling, n) for n in ("temperature", "top_k", "top_p")}
        held_out = RolloutConfig(max_new_tokens=data.max_new_tokens, **drawn)
        return train(
            run,
            objective=parts.objective,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=StoredBatches(
                arrays, self.batch_size, self.train.seed, share.index, share.count
            ),
            initial_params=params,
            mesh=mesh,
            evaluate_fn=held_out_rewards(base.model, task, held_out, self.held_out, mesh),
            evaluate_at_start=True,
            config_json=config,
            optimizer=parts.optimizer,
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    def parts_for(
        self, base: Run, params: Params, arrays: Mapping[str, Any], desirable_weight: float = 1.0
    ) -> TrainingParts:
        """What a run compiles whose examples have the shapes of these; parameters may be shapes."""
        shapes = {
            name: jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), x.dtype)
            for name, x in arrays.items()
        }
        return TrainingParts(
            objective=self.objective(base.model, desirable_weight),
            model_init=given_params(params),
            optimizer=self.optimizer_for(params),
            batch_shapes=[shapes],
            flops_per_token=training_flops_per_token(
                params, shapes["tokens"].shape[-1], windows=base.model.config.windows
            ),
        )

    def _data(
        self, run: Path, base: Run, params: Params, mesh: Mesh | None, progress: bool
    ) -> Prepared:
        method = METHODS[self.method]
        source = problem_source(base, self.sampling.problems, self.problem_changes)
        preparation = Preparation(
            rows=method.rows,
            reference=method.reference,
            pairs=self.pairs,
            per_problem=self.per_problem,
            keep=self.keep,
            sampling=self.sampling,
            samples_from=self.samples_from,
            score_rows=self.batch_size,
            chunk=self.loss_chunk or None,
        )

        def say(line: str) -> None:
            if progress and jax.process_index() == 0:
                print(line, file=sys.stderr)

        return prepare(run / "data.npz", preparation, base, params, source, mesh, say)

    def check_rows(self, mesh: Mesh | None) -> None:
        """Refuse a batch that mesh and micro-batches cannot split."""
        ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        parts = ways * self.train.accumulation
        if self.batch_size % parts:
            raise InputError(
                f"batch_size is {self.batch_size}; it must be a multiple of train.accumulation "
                f"({self.train.accumulation}) x mesh axes replica x fsdp ({ways})"
            )


def balanced_weight(arrays: Arrays, undesirable_weight: float) -> float:
    """The weight of desirable completions at which both kinds weigh the same in all."""
    if "desirable" not in arrays:
        return 1.0
    desirable = int(np.count_nonzero(arrays["desirable"]))
    return undesirable_weight * (len(arrays["desirable"]) - desirable) / desirable

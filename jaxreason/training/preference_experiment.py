"""Preference learning, and supervised controls, from completions of a trained model."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.paths import as_path
from jaxreason.sharding.placement import data_share
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.completions import SamplingConfig
from jaxreason.training.files import claim, settle_config
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.held_out import held_out_rewards
from jaxreason.training.loop import TrainResult, train
from jaxreason.training.parts import TrainingParts
from jaxreason.training.post_training import origin_json, problem_source
from jaxreason.training.preference_data import Preparation, Prepared, prepare
from jaxreason.training.preference_method import METHODS, PreferenceMethod, balanced_weight
from jaxreason.training.prompt_rows import Task
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.training.run_directory import check_run_directory
from jaxreason.training.runs import Run
from jaxreason.training.state import given_params
from jaxreason.training.stored_batches import StoredBatches
from jaxreason.types import Params


@dataclass(frozen=True)
class PreferenceExperiment(PreferenceMethod):
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

    pairs: Literal["on_policy", "off_policy"] = "on_policy"
    per_problem: int = 4
    keep: Literal["all", "distinct", "one"] = "distinct"
    problem_changes: dict[str, str] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    samples_from: str | None = None
    held_out: int = 200

    kind = "preference"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in {
            "pairs": ("on_policy", "off_policy"),
            "keep": ("all", "distinct", "one"),
        }.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}"
                )
        for name in ("per_problem", "held_out"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")

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

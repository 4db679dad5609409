"""The programs of reinforcement learning: sampler, scores, updates, each as the run calls it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.sharding.mesh import batch_sharding
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training.clock import Clock
from jaxreason.training.flops import forward_flops_per_token, training_flops_per_token
from jaxreason.training.parts import next_token_shapes
from jaxreason.training.preflight.programs import (
    Planned,
    batch_bytes,
    device_bytes,
    state_bytes,
    update_program,
)
from jaxreason.training.reinforcement import OLD_NAMES
from jaxreason.training.reinforcement_experiment import ReinforcementBuilder
from jaxreason.training.rollouts import (
    PromptStream,
    RolloutConfig,
    encode_prompts,
)
from jaxreason.training.runs import Run
from jaxreason.training.state import TrainState

Shapes = dict[str, jax.ShapeDtypeStruct]


def shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """An array to be."""
    return jax.ShapeDtypeStruct(sizes, dtype)


def placed_base(experiment: Any, mesh: Mesh) -> Run:
    """The base with its parameters as shapes on the mesh, in the dtype they are to be stored in."""
    base = experiment.base_shapes()
    return base._replace(params=on_mesh(experiment.stored(base.params), mesh))


def base_bytes(experiment: Any, base: Run, mesh: Mesh) -> dict[str, int]:
    """Bytes on one device of the base's parameters, which stay there for the whole run: the state
    that is trained begins as a copy of them, and a frozen reference is them.

    Args:
        experiment: that starts from it.
        base: of `placed_base`.
        mesh: the devices.
    """
    read = on_mesh(experiment.base_shapes().params, mesh)
    same = all(
        one.dtype == other.dtype
        for one, other in zip(jax.tree.leaves(read), jax.tree.leaves(base.params), strict=True)
    )
    found = {"base": device_bytes(read)}
    return found if same else found | {"base as stored": device_bytes(base.params)}


def on_mesh(shapes: Any, mesh: Mesh) -> Any:
    """Parameters of a model with their layout on the mesh."""
    return jax.tree.map(_with_sharding, shapes, match_rules(TRANSFORMER_RULES, shapes, mesh))


def _with_sharding(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def on_rows(shapes: Mapping[str, Any], mesh: Mesh) -> Shapes:
    """Arrays whose rows are split over the mesh."""
    return {name: _with_sharding(x, batch_sharding(mesh)) for name, x in shapes.items()}


@dataclass(frozen=True)
class Held:
    """What lies on the devices while the programs beside the updates run.

    Attributes:
        mesh: the devices.
        state: of the training.
        base: of `base_bytes`.
    """

    mesh: Mesh
    state: TrainState
    base: Mapping[str, int]

    def call(
        self,
        name: str,
        function: Any,
        params: Any,
        given: Mapping[str, Any],
        *,
        flops: float | None = None,
        calls: float = 1.0,
        keyed: bool = False,
    ) -> Planned:
        """A jitted `function(params, rows[, key])`.

        Args:
            name: of the program.
            function: jitted, or made of jitted ones.
            params: shapes with shardings.
            given: rows, split over the mesh.
            flops: of one call.
            calls: in one training step.
            keyed: whether it takes a key.
        """
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        key = jax.eval_shape(lambda: jax.random.key(0))
        arguments = [params, on_rows(given, self.mesh)]
        arguments += [_with_sharding(key, everywhere)] * keyed

        def lower() -> Any:
            with jax.set_mesh(self.mesh):
                return jax.jit(function).lower(*arguments)

        own = device_bytes(params)
        held = sum(state_bytes(self.state).values()) - own
        return Planned(
            name=name,
            lower=lower,
            arguments={"parameters": own, "rows": batch_bytes(given, self.mesh)},
            resident={"training state": max(held, 0), **self.base},
            flops=flops,
            calls=calls,
            donated=0,
        )


def first_problems(count: int, rows: int, seed: int) -> list[int]:
    """The problems of a run's first step."""
    return [int(index) for index in next(PromptStream(count, rows, seed))["problems"]]


def split_rows(shapes: Mapping[str, Any], parts: int) -> Shapes:
    """One of so many equal parts of the rows."""
    return {n: shape(x.shape[0] // parts, *x.shape[1:], dtype=x.dtype) for n, x in shapes.items()}


def reinforcement_programs(experiment: Any, mesh: Mesh) -> list[Planned]:
    """What a step of a `ReinforcementExperiment` calls.

    Prompts are those of the first step; completions are taken to be as long as they may be.

    Raises:
        InputError: no base, or fields that do not fit it or the mesh.
    """
    e, rollout = experiment, experiment.rollout
    e.check_rows(mesh)
    base = placed_base(e, mesh)
    if hasattr(e, "longest_prompts"):
        task, longest, prompts = e.longest_prompts()
    else:
        task = e.task(base)
        chosen = first_problems(e.problems, rollout.prompts * rollout.oversample, e.train.seed)
        problems = [task.source.problem(index) for index in chosen[: rollout.prompts]]
        prompts = encode_prompts(task.source.vocabulary, problems)
        longest = int(prompts["lengths"].max())
    program = ReinforcementBuilder(e, base, base.params, mesh, Clock(), task).program()
    step: Any = program.step
    length = task.widths(longest + rollout.max_new_tokens)
    core = next_token_shapes(rollout.rows, length)
    held = Held(mesh, program.abstract(), base_bytes(e, base, mesh))
    windows = base.model.config.windows
    per_token = training_flops_per_token(base.params, length, windows=windows)
    forward = forward_flops_per_token(base.params, length, windows=windows) * rollout.rows * length
    found = _updates(step, held, rollout, core, per_token)
    found.append(
        held.call("sampler", step.rollouts.sampler, base.params, prompts, flops=forward, keyed=True)
    )
    if scored := step.scores_old() + step.algorithm.needs_reference:
        score = step.scorers.log_probabilities
        found.append(
            held.call("log-probabilities", score, base.params, core, flops=forward, calls=scored)
        )
    if step.algorithm.auxiliary == "critic":
        critic = held.state.auxiliary.params
        found.append(held.call("values", step.scorers.values, critic, core, flops=forward))
    return found


def _updates(
    step: Any, held: Held, rollout: RolloutConfig, core: Shapes, per_token: float
) -> list[Planned]:
    """The update of the policy, and of a second network."""
    rows, length = core["tokens"].shape
    often = rollout.epochs * rollout.minibatches
    part = split_rows(_learned_shapes(step, core, rows, length), rollout.minibatches)
    policy, auxiliary = held.state._replace(auxiliary=None), held.state.auxiliary
    beside = dict(held.base)
    second = {"second network": device_bytes(auxiliary)} if auxiliary is not None else {}
    found = [
        update_program(
            "policy update", step.update, policy, part, per_token, often, {**beside, **second}
        )
    ]
    if auxiliary is None:
        return found
    if step.algorithm.auxiliary == "reward_model":
        labels = {"correct": shape(rows), "reference_log_probabilities": shape(rows, length)}
        part, often = {**core, **labels}, 1
    name = f"{step.algorithm.auxiliary.replace('_', ' ')} update"
    beside["policy"] = sum(state_bytes(policy).values())
    update = step.auxiliary_update
    return [*found, update_program(name, update, auxiliary, part, per_token, often, beside)]


def _learned_shapes(step: Any, core: Shapes, rows: int, length: int) -> Shapes:
    """What `ReinforcementStep` gives its update: the rows and what was made of their scores."""
    tokens = shape(rows, length)
    inputs = {
        "rewards": shape(rows),
        "finished": shape(rows, dtype=jnp.bool_),
        "targets_mask": core["targets_mask"],
    }
    if step.scores_old():
        inputs["log_probabilities"] = tokens
    if step.algorithm.needs_reference:
        inputs["reference_log_probabilities"] = tokens
    if step.algorithm.auxiliary == "critic":
        inputs["values"] = tokens
    elif step.algorithm.auxiliary == "reward_model":
        inputs["process_rewards"] = tokens
    result = jax.eval_shape(step.scorers.advantages, {"log_probabilities": tokens, **inputs})
    learned = {name: x for name, x in result.items() if name != "metrics"}
    learned |= {new: inputs[name] for name, new in OLD_NAMES.items() if name in inputs}
    return {**core, **learned}

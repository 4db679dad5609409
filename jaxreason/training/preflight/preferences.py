"""The training step of preference learning, from what its completions can be at most."""

from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.training.completions import solutions
from jaxreason.training.parts import next_token_shapes
from jaxreason.training.post_training import problem_source
from jaxreason.training.preference_method import METHODS
from jaxreason.training.preflight.policies import Shapes, base_bytes, placed_base, shape
from jaxreason.training.preflight.programs import Planned, supervised_programs
from jaxreason.training.rollouts import LENGTH_STEP


def preference_programs(experiment: Any, mesh: Mesh) -> list[Planned]:
    """The training step of a `PreferenceExperiment`; completions are as long as they may be.

    The sampler that draws them once, before the first step, is not compiled.

    Raises:
        InputError: no base, or fields that do not fit it or the mesh.
    """
    e = experiment
    e.check_rows(mesh)
    base = placed_base(e, mesh)
    parts = e.parts_for(base, base.params, _example_shapes(e, base))
    return supervised_programs(parts, mesh, e.train.accumulation, base_bytes(e, base, mesh))


def _example_shapes(e: Any, base: Any) -> Shapes:
    method = METHODS[e.method]
    shown = solutions(problem_source(base, e.sampling.problems, e.problem_changes),
                      e.sampling.problems)  # fmt: skip
    longest = max(one.tokens.size for one in shown)
    if method.rows != "shown":
        solution = max(one.tokens.size - one.prompt_length for one in shown)
        limit = e.sampling.max_new_tokens or solution
        longest = max(longest, max(one.prompt_length for one in shown) + limit)
    length = LENGTH_STEP * -(-longest // LENGTH_STEP)
    rows = next_token_shapes(e.batch_size, length)
    if method.rows in ("kept", "shown"):
        return rows
    examples = {n: shape(x.shape[0], 2, length, dtype=x.dtype) for n, x in rows.items()}
    if method.reference:
        examples["reference_log_probabilities"] = shape(e.batch_size, 2)
    if method.rows == "labelled":
        examples["desirable"] = shape(e.batch_size, dtype=jnp.bool_)
    return examples

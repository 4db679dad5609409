"""The programs of reinforcement learning of a diffusion policy, each as the run calls it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.policy_training import policy_program
from jaxreason.training.flops import forward_flops_per_token, training_flops_per_token
from jaxreason.training.preflight.policies import (
    Held,
    Shapes,
    base_bytes,
    placed_base,
    shape,
    split_rows,
)
from jaxreason.training.preflight.programs import Planned, update_program


def diffusion_reinforcement_programs(experiment: Any, mesh: Mesh) -> list[Planned]:
    """What a step of a `DiffusionPolicyTraining` calls; mazes are the first step's, questions in
    words as long as they may be.

    Raises:
        InputError: no base, or fields that do not fit it or the mesh.
    """
    e, rollout = experiment, experiment.rollout
    e.check_rows(mesh)
    base = placed_base(e, mesh)
    asked, prompts = e.planned(base)
    program = policy_program(e, base.model, base.params, asked, mesh, Clock())
    step: Any = program.step
    key = jax.eval_shape(lambda: jax.random.key(0))
    answers = jax.eval_shape(step.rollouts.sampler, base.params, prompts, key)
    room = 0 if "image" in prompts else answers.tokens.shape[1]
    length = prompts["tokens"].shape[1] + room
    held = Held(mesh, program.abstract(), base_bytes(e, base, mesh))
    per_token = training_flops_per_token(base.params, length, causal=False)
    forward_each = forward_flops_per_token(base.params, length, causal=False)
    learned, scored = _noised_shapes(step, rollout.rows, length)
    found = [
        update_program(
            "policy update",
            step.update,
            held.state,
            split_rows(learned, rollout.minibatches),
            per_token * scored["masked"].shape[1],
            step.algorithm.updates * rollout.minibatches,
            held.base,
        ),
        held.call("sampler", step.rollouts.sampler, base.params, prompts, keyed=True),
    ]
    if policies := step.scores_old() + step.algorithm.needs_reference:
        forward = forward_each * math.prod(scored["masked"].shape)
        calls = policies * step.algorithm.updates * step.slices
        score = step.scorers.log_probabilities
        found.append(
            held.call("log-probabilities", score, base.params, scored, flops=forward, calls=calls)
        )
    return found


def _noised_shapes(step: Any, rows: int, length: int) -> tuple[Shapes, Shapes]:
    """What the update gets, and what is scored at once."""
    flags, tokens = (shape(rows, length, dtype=x) for x in (jnp.bool_, jnp.int32))
    drawn = {"tokens": tokens, "keys": flags, "maskable": flags, "counted": flags, "order": tokens}
    key = jax.eval_shape(lambda: jax.random.key(0))
    noise = jax.eval_shape(step.scorers.noise, drawn, key)
    noised = {"masked": noise.masked, "weights": noise.weights}
    noised = {name: shape(*x.shape[1:], dtype=x.dtype) for name, x in noised.items()}
    learned = {"tokens": tokens, "keys": flags, **noised}
    learned |= {"advantages": shape(rows), "lengths": shape(rows)}
    said = shape(*noised["masked"].shape)
    if step.scores_old():
        learned["old_log_probabilities"] = said
    if step.algorithm.needs_reference:
        learned["reference_log_probabilities"] = said
    if step.algorithm.surrogate == "preference":
        groups = rows // step.rollouts.config.group
        pairs = {n: shape(groups, 2, *x.shape[1:], dtype=x.dtype) for n, x in learned.items()}
        learned = {**pairs, "pair_weights": shape(groups)}
    at_once = {"tokens": tokens, "keys": flags, **noised}
    return learned, split_rows(at_once, step.slices)

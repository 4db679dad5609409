"""What a model earns on problems it has not trained on."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.judging import draw, judge_rows
from jaxreason.training.rollouts import RolloutConfig, encode_prompts
from jaxreason.training.runs import Run
from jaxreason.types import Params, Sampler


def held_out_rewards(
    base: Run, config: RolloutConfig, count: int, mesh: Mesh | None, batch_size: int = 64
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers`: mean reward and breakdown on held-out problems.

    The problems are those of the validation split of the base's data, one completion each:
    `held_out_*` decoded greedily, `held_out_sampled_reward` at the sampling temperature.
    """
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    batch_size = ways * -(-batch_size // ways)
    source = base.experiment.source(split="validation", count=count)
    samplers = {t: held_out_sampler(base, config, t, source) for t in (0.0, config.temperature)}

    def rewards(params: Params, temperature: float) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {}
        for first in range(0, count, batch_size):
            problems = [source.problem(i) for i in range(first, min(first + batch_size, count))]
            padded = problems + problems[-1:] * (batch_size - len(problems))
            prompts = encode_prompts(source.vocabulary, padded)
            key = jax.random.fold_in(jax.random.key(0), first)
            completions = draw(samplers[temperature], params, prompts, key, mesh)
            reward = judge_rows(base.experiment.reward, padded, completions, mesh)
            for name, values in {"reward": reward.values, **reward.breakdown}.items():
                found.setdefault(name, []).append(values[: len(problems)])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        greedy = rewards(params, 0.0)
        sampled = rewards(params, config.temperature)["reward"]
        numbers = {f"held_out_{name}": float(values.mean()) for name, values in greedy.items()}
        return {**numbers, "held_out_sampled_reward": float(sampled.mean())}

    return evaluate


def held_out_sampler(base: Run, config: RolloutConfig, temperature: float, source: Any) -> Sampler:
    """One completion per prompt, otherwise as in the rollouts."""
    return autoregressive(
        base.model,
        max_new_tokens=config.max_new_tokens,
        eos=source.vocabulary.eos,
        pad=source.vocabulary.pad,
        temperature=temperature,
        top_k=config.top_k or None,
        top_p=config.top_p,
    )

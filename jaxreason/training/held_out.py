"""What a model earns on problems it has not trained on."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.models import Transformer
from jaxreason.rewards import Reward
from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.training.judging import draw, judge_rows
from jaxreason.training.prompt_rows import Task, encode_prompts
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.types import Completions, Params, Sampler

Watch = Callable[[int, Sequence[Any], Completions, Reward], None]
"""`(step, problems, completions, reward)`: told of the first batch that is decoded greedily."""


def held_out_rewards(
    model: Transformer,
    task: Task,
    config: RolloutConfig,
    count: int,
    mesh: Mesh | None,
    batch_size: int = 64,
    watch: Watch | None = None,
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers`: mean reward and breakdown on held-out problems.

    One completion of each: `held_out_*` decoded greedily, `held_out_sampled_reward` at the sampling
    temperature. As many are decoded at once as `batch_size` says, or as there are.
    """
    ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    batch_size = ways * -(-min(batch_size, count) // ways)
    source, vocabulary = task.held_out, task.held_out.vocabulary
    samplers = {
        t: held_out_sampler(model, config, t, vocabulary) for t in (0.0, config.temperature)
    }

    def rewards(params: Params, temperature: float, step: int) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {}
        for first in range(0, count, batch_size):
            problems = [source.problem(i) for i in range(first, min(first + batch_size, count))]
            padded = problems + problems[-1:] * (batch_size - len(problems))
            prompts = encode_prompts(vocabulary, padded, task.widths)
            key = jax.random.fold_in(jax.random.key(0), first)
            completions = draw(samplers[temperature], params, prompts, key, mesh)
            reward = judge_rows(task.reward, padded, completions, mesh)
            if watch is not None and not first and not temperature:
                watch(step, problems, completions, reward)
            for name, values in {"reward": reward.values, **reward.breakdown}.items():
                found.setdefault(name, []).append(values[: len(problems)])
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        greedy = rewards(params, 0.0, step)
        sampled = rewards(params, config.temperature, step)["reward"]
        numbers = {f"held_out_{name}": float(values.mean()) for name, values in greedy.items()}
        return {**numbers, "held_out_sampled_reward": float(sampled.mean())}

    return evaluate


def held_out_sampler(
    model: Transformer, config: RolloutConfig, temperature: float, vocabulary: Any
) -> Sampler:
    """One completion per prompt, otherwise as in the rollouts."""
    return autoregressive(
        model,
        max_new_tokens=config.max_new_tokens,
        eos=vocabulary.eos,
        pad=vocabulary.pad,
        temperature=temperature,
        top_k=config.top_k or None,
        top_p=config.top_p,
    )

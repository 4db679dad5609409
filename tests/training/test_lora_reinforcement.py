"""Online RL with LoRA: of policy and second network only A and B move, on a mesh as well."""

import jax
import numpy as np
import pytest
from rl_base import make_base

from jaxreason.models.lora import LoraConfig, add_lora, is_lora
from jaxreason.rewards import Reward
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.sharding.rules import path_name
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.reinforcement_experiment import ReinforcementExperiment
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.training.runs import load_run

LORA = LoraConfig(rank=2, alpha=4.0)


def leaves(tree):
    return {path_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "mesh"), [("ppo", MeshConfig(fsdp=4, tensor=2)), ("prime", None), ("grpo", None)]
)
def test_only_low_rank_matrices_and_heads_move(tmp_path, monkeypatch, method, mesh):
    base = make_base(tmp_path / "base")

    def reward(self, problems, completions):
        return Reward((np.asarray(completions.lengths) % 2 == 0).astype(np.float32), {})

    monkeypatch.setattr(MazeExperiment, "reward", reward)
    if mesh is None:
        monkeypatch.setattr(jax, "device_count", lambda: 1)
    result = ReinforcementExperiment(
        base=base,
        method=method,
        problems=32,
        held_out=8,
        rollout=RolloutConfig(prompts=4, group=4, max_new_tokens=24),
        optimizer=OptimizerConfig(1e-2, 0, 8),
        train=TrainConfig(steps=2, log_every=1),
        mesh=mesh or MeshConfig(),
        lora=LORA,
    ).run(tmp_path / "run", progress=False)
    start = leaves(add_lora(load_run(base).params, LORA, jax.random.key(0)))
    networks = [result.state] + ([] if method == "grpo" else [result.state.auxiliary])
    for state in networks:
        params = leaves(state.params)
        low_rank = {name for name in params if is_lora(name)}
        assert low_rank
        size = sum(params[name].size for name in low_rank)
        size += params["value_head"].size if "value_head" in params else 0
        moments = [x for x in jax.tree.leaves(state.optimizer_state) if x.ndim]
        assert sum(x.size for x in moments) == 2 * size
        for name, x in params.items():
            if name not in low_rank and name != "value_head":
                np.testing.assert_array_equal(x, start[name.removeprefix("trunk/")], name)
    moved = leaves(result.state.params)
    b = [name for name in moved if name.endswith("_lora_b")]
    assert any(np.any(moved[name]) for name in b)
    assert all(np.isfinite(x).all() for x in moved.values())
    if method != "grpo":
        second = leaves(result.state.auxiliary.params)
        trained = [x for name, x in second.items() if name.endswith(("_lora_b", "value_head"))]
        assert any(np.any(x) for x in trained)

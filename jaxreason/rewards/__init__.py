"""Verifiers as rewards: `(problems, completions, vocabulary) -> Reward`, NumPy only."""

from jaxreason.rewards.maze import maze_reward
from jaxreason.rewards.reward import Reward, RewardFunction

__all__ = ["Reward", "RewardFunction", "maze_reward"]

"""Verifiers as rewards: `(problems, completions, vocabulary) -> Reward`, NumPy only."""

from jaxreason.rewards.countdown import countdown_reward
from jaxreason.rewards.maze import maze_reward
from jaxreason.rewards.reward import Reward, RewardFunction

__all__ = ["Reward", "RewardFunction", "countdown_reward", "maze_reward"]

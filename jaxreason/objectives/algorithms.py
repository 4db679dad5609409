"""The published online algorithms, each with its aggregation, standard deviation and KL divergence.

Every comment names the four choices in this order: how tokens are averaged, which deviation
divides the advantage, which estimator of the KL divergence is used and where it enters.
"""

from jaxreason.objectives.algorithm_config import AlgorithmConfig

__all__ = ["ALGORITHMS", "AlgorithmConfig"]

ALGORITHMS: dict[str, AlgorithmConfig] = {
    # DeepSeekMath (arXiv 2402.03300) eq. 3 and 4: every completion's tokens are averaged, then
    # the completions; unbiased group deviation (TRL); k3 in the loss, beta 0.04.
    "grpo": AlgorithmConfig(
        advantage="grpo",
        surrogate="clip",
        aggregation="seq_mean_token_mean",
        standard_deviation="group",
        kl_estimator="k3",
        kl_placement="loss",
        kl_coefficient=0.04,
    ),
    # Dr. GRPO (arXiv 2503.20783) section 3.2: token sums over a constant length; rewards
    # centred in the group, no deviation; no KL.
    "dr_grpo": AlgorithmConfig(
        advantage="centered",
        surrogate="clip",
        aggregation="seq_sum_over_constant",
        standard_deviation="none",
        kl_estimator="k3",
        kl_placement="none",
    ),
    # DAPO (arXiv 2503.14476) eq. 8 to 13: mean over all tokens; unbiased group deviation (TRL,
    # verl); no KL; upper clip 0.28; soft punishment of long completions. Resampling groups
    # of equal rewards ("dynamic sampling") is the rollout's business: `informative_groups`.
    "dapo": AlgorithmConfig(
        advantage="grpo",
        surrogate="clip",
        aggregation="token_mean",
        standard_deviation="group",
        kl_estimator="k3",
        kl_placement="none",
        clip_high=0.28,
        overlong="soft",
    ),
    # GSPO (arXiv 2507.18071) eq. 5 to 7, section 5.1: mean over completions; unbiased group
    # deviation (TRL); no KL; the clip is that of a per-token mean, hence tiny.
    "gspo": AlgorithmConfig(
        advantage="grpo",
        surrogate="gspo",
        aggregation="seq_mean_token_mean",
        standard_deviation="group",
        kl_estimator="k3",
        kl_placement="none",
        clip_low=3e-4,
        clip_high=4e-4,
    ),
    # MiniMax-M1 (arXiv 2506.13585) eq. 4 and 5: mean over all tokens; unbiased group deviation
    # (TRL); no KL; the bound on the ratio is TRL's.
    "cispo": AlgorithmConfig(
        advantage="grpo",
        surrogate="cispo",
        aggregation="token_mean",
        standard_deviation="group",
        kl_estimator="k3",
        kl_placement="none",
        ratio_cap=5.0,
    ),
    # Ahmadian et al. (arXiv 2402.14740) section 3.3 as in TRL's RLOOTrainer: one clipped ratio
    # per completion, mean over completions; no deviation; k1 summed in the reward, beta 0.05.
    "rloo": AlgorithmConfig(
        advantage="rloo",
        surrogate="sequence_clip",
        aggregation="seq_mean_token_mean",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="reward",
        kl_coefficient=0.05,
    ),
    # Williams 1992: reward times the gradient of the completion's log-probability, mean over
    # completions; no baseline, no deviation, no KL.
    "reinforce": AlgorithmConfig(
        advantage="reinforce",
        surrogate="reinforce",
        aggregation="seq_mean_token_sum",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="none",
    ),
    # REINFORCE++ (arXiv 2501.03262): token returns whitened over the batch; mean over all
    # tokens (verl); k1 per token in the reward, beta 0.01 (OpenRLHF).
    "reinforce_plus_plus": AlgorithmConfig(
        advantage="reinforce_plus_plus",
        surrogate="clip",
        aggregation="token_mean",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="reward",
        kl_coefficient=0.01,
    ),
    # REINFORCE++-baseline (same paper): group mean taken off, whitened over the batch; mean
    # over all tokens (verl); k2 in the loss, coefficient of verl's kl_loss_coef.
    "reinforce_plus_plus_baseline": AlgorithmConfig(
        advantage="reinforce_plus_plus_baseline",
        surrogate="clip",
        aggregation="token_mean",
        standard_deviation="none",
        kl_estimator="k2",
        kl_placement="loss",
        kl_coefficient=0.001,
    ),
    # PPO (arXiv 1707.06347) with GAE (arXiv 1506.02438) as in TRL's PPOConfig: mean over all
    # tokens; advantages whitened over the batch; k1 per token in the reward, beta 0.05.
    "ppo": AlgorithmConfig(
        advantage="gae",
        surrogate="clip",
        aggregation="token_mean",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="reward",
        kl_coefficient=0.05,
    ),
    # PRIME (arXiv 2502.01456) as in verl's recipe: process and outcome rewards, each with its
    # own leave-one-out baseline, returns whitened over the batch; mean over all tokens; no KL.
    "prime": AlgorithmConfig(
        advantage="prime",
        surrogate="clip",
        aggregation="token_mean",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="none",
        entropy_coefficient=0.001,
    ),
    # RAFT++ (arXiv 2504.11343) eq. 5: clipped ratio on the correct completions only, averaged
    # over the tokens of each and over all completions; no deviation; no KL.
    "raft_plus_plus": AlgorithmConfig(
        advantage="positive",
        surrogate="clip",
        aggregation="seq_mean_token_mean",
        standard_deviation="none",
        kl_estimator="k1",
        kl_placement="none",
    ),
}

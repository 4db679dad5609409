"""The published online algorithms for masked diffusion models, each with its choices.

What a source leaves open is taken from `DiffusionAlgorithmConfig`'s defaults, or named at the entry
as a default of ours.
"""

from jaxreason.objectives.diffusion.algorithm_config import DiffusionAlgorithmConfig

__all__ = ["DIFFUSION_ALGORITHMS", "DiffusionAlgorithmConfig"]

DIFFUSION_ALGORITHMS: dict[str, DiffusionAlgorithmConfig] = {
    # MMaDA (arXiv 2505.15809) Algorithm 1, eq. 3 to 7 and 15: structured noise levels, prompt never
    # masked, clipped token ratios averaged over the masked tokens of each response, KL to the
    # reference. No code was released; every constant is the record's default.
    "unigrpo": DiffusionAlgorithmConfig(),
    # diffu-GRPO of d1 (arXiv 2504.12216; github.com/dllm-reasoning/d1): response fully masked,
    # prompt tokens with probability 0.15; R - mean; clip 0.5; k3, beta 0.04; mu 12; tokens of the
    # batch pooled, as in TRL. The reference is not refreshed here (d1: every 64 steps).
    "diffu_grpo": DiffusionAlgorithmConfig(
        noise="full",
        advantage="centered",
        standard_deviation="none",
        aggregation="token_pool",
        updates=12,
        clip_low=0.5,
        clip_high=0.5,
        kl_coefficient=0.04,
        prompt_mask=0.15,
    ),
    # coupled-GRPO of DiffuCoder (arXiv 2506.20639; github.com/apple/ml-diffucoder,
    # coupled_grpo.py): half the fully masked log-probability, half that under one of two
    # complementary masks. Updates and beta are ours.
    "coupled_grpo": DiffusionAlgorithmConfig(
        noise="coupled",
        surrogate="coupled",
        standard_deviation="sample",
        aggregation="token_pool",
        updates=2,
        ratio_range=(0.2, 0.8),
    ),
    # wd1 (github.com/xiaohangt/wd1, rev_grpo_trainer.py): d1's estimator without ratio; the sum of
    # log-probabilities weighted by softmax(A) and, against it, softmax(-A). Updates are ours.
    "wd1": DiffusionAlgorithmConfig(
        noise="full",
        surrogate="reinforce",
        advantage="wd1",
        standard_deviation="none",
        aggregation="response_sum",
        updates=8,
        kl_coefficient=0.0,
        prompt_mask=0.15,
    ),
    # SPG (github.com/facebookresearch/SPG, spg_trainer.py): the lower bound where A >= 0, a mix
    # with the upper bound where A < 0; one random block masked in part, what follows it fully, 15 %
    # of the prompt (there also of the response before the block); no ratio, no KL. The power of the
    # upper bound is ours.
    "spg": DiffusionAlgorithmConfig(
        noise="blocks",
        surrogate="bounds",
        advantage="centered",
        standard_deviation="none",
        aggregation="token_pool",
        updates=4,
        kl_coefficient=0.0,
        prompt_mask=0.15,
        draws=2,
        tail="masked",
    ),
    # ESPO (arXiv 2512.03759; github.com/ML-GSAI/ESPO, espo_trainer.py): the response is one
    # action; ratio exp(difference of ELBOs / L), k2 of the ELBOs over L; leave-one-out; the end
    # padding belongs to the response. mu 8, beta 1e-3: its GSM8K recipe.
    "espo": DiffusionAlgorithmConfig(
        noise="exact_pairs",
        surrogate="sequence",
        advantage="rloo",
        standard_deviation="none",
        aggregation="response_length",
        updates=8,
        kl_estimator="k2",
        kl_coefficient=1e-3,
        draws=2,
        tail="counted",
    ),
    # TraceRL without its value model (arXiv 2509.06949; github.com/Gen-Verse/dLLM-RL): tokens are
    # scored where the sampler revealed them, `shrink` steps at a time; k3 to the old policy.
    # Updates, deviation and aggregation are ours. What the sampler had put after the end token is
    # not kept unless it was padding: these places are masked at every step of the trace, whereas
    # the sampler may have filled some of them before the end token was there.
    "trace_rl": DiffusionAlgorithmConfig(
        noise="trace",
        aggregation="response_length",
        updates=2,
        kl_target="old",
    ),
    # "random_masking" of dLLM-RL (github.com/Gen-Verse/dLLM-RL, train_mmada_v_policy.py), to which
    # MMaDA's README points for UniGRPO: independent masks with shares from U(0.1, 0.9); k3 to the
    # old policy, averaged over the masked tokens like the policy's term. Updates are ours.
    "random_masking": DiffusionAlgorithmConfig(
        noise="uniform",
        updates=2,
        kl_target="old",
        draws=2,
        tail="masked",
    ),
    # VRPO of LLaDA 1.5 (arXiv 2505.19223): DPO on ELBOs of 8 noise levels with one mask each, the
    # same for policy and reference; beta 0.2. There on given pairs, here on each group's best and
    # worst answer, without advantages; updates are ours.
    "vrpo": DiffusionAlgorithmConfig(
        noise="exact",
        surrogate="preference",
        updates=2,
        kl_coefficient=0.0,
        draws=8,
        tail="counted",
    ),
}

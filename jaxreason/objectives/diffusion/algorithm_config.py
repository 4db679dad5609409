"""An online algorithm for masked diffusion models as one record of choices.

A diffusion model has no cheap likelihood of a response, so each algorithm is first of all a way of
noising responses and of reading a likelihood off them. What papers leave open is a field here, and
its default says so.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from jaxreason.errors import InputError
from jaxreason.objectives.diffusion.algorithm_effects import check_effects
from jaxreason.objectives.kl_divergence import KL_ESTIMATORS, KLEstimator

Noise = Literal[
    "timesteps", "full", "uniform", "coupled", "exact_pairs", "exact", "blocks", "trace"
]
TimestepRule = Literal["alg1", "example_stride", "random"]
Surrogate = Literal["token", "coupled", "sequence", "reinforce", "bounds", "preference"]
Advantage = Literal["grpo", "centered", "rloo", "wd1"]
StandardDeviation = Literal["population", "sample", "none"]
Aggregation = Literal["masked_tokens", "response_length", "response_sum", "token_pool"]
Tail = Literal["noised", "masked", "visible", "counted"]

TIMESTEP_RULES: tuple[str, ...] = get_args(TimestepRule)
SEQUENCE_LEVEL = ("sequence", "bounds")
"""Surrogates that read one likelihood per response."""

LIKELIHOODS: dict[str, tuple[str, ...]] = {
    "sequence": ("exact", "exact_pairs", "full"),
    "preference": ("exact", "exact_pairs", "full"),
    "bounds": ("exact", "exact_pairs", "full", "blocks"),
}
"""Surrogate to the noises whose weighted sum stands for log p of the response: unbiased for its
ELBO, d1's one-step estimate ("full"), or SPG's own over blocks.
"""


@dataclass(frozen=True, kw_only=True)
class DiffusionAlgorithmConfig:
    """What makes an online algorithm; the published ones are in
    `jaxreason.objectives.diffusion.algorithms`. The defaults are UniGRPO's; "open" marks what its
    paper (MMaDA, arXiv 2505.15809) leaves open.

    Attributes:
        noise: how responses are masked, see `jaxreason.objectives.diffusion.noising`.
        surrogate: what the advantage multiplies, see `jaxreason.objectives.diffusion.policy`; or
            "preference" of the best over the worst answer of each group.
        advantage: within the group: "grpo" (R - mean) / deviation, "centered" R - mean, "rloo"
            R minus the mean of the others, "wd1" softmax(A) - softmax(-A) of centred A, times the
            group's size.
        standard_deviation: what divides "grpo" (open); "none" for the others.
        epsilon: added to the deviation (open; TRL's).
        aggregation: how tokens become a loss. "masked_tokens": mean over the masked tokens of a
            noised response, then over those; "response_length": sum over its masked tokens by the
            length of the response, mean over responses (eq. 5 as printed); "response_sum": without
            the length; "token_pool": mean over all masked tokens of the batch. What these mean for
            surrogates with one value per response is said in `policy`.
        updates: inner updates per rollout, each with its own noise, mu (open).
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high] (open; PPO's).
        kl_estimator: see `jaxreason.objectives.kl_divergence` (open; GRPO's).
        kl_target: KL to the frozen "reference" or to the "old" policy that sampled.
        kl_coefficient: its weight, beta (open; dLLM-RL's); 0 for none.
        kl_summed: the KL is summed over masked tokens whatever the aggregation; no preset does.
        timestep_rule: spacing of the noise levels of the updates, see `timesteps`.
        total_timesteps: T.
        first_timestep: range of the random start, its upper end included; None for 0 to T - 1.
        timestep_scope: one start for all responses of an "update" (Algorithm 1) or one for each
            "response" (the prose).
        mask_count: at level t each token is masked with probability t / T ("bernoulli"), or
            exactly round(n t / T) tokens are, at least one ("exact").
        share_mask_across_group: responses to one prompt are masked at the same places.
        prompt_mask: probability of masking a token of the prompt (d1: 0.15 in its paper, 0.3 in
            its code's default; UniGRPO never does).
        draws: independent noisings of each response per update; pairs count once.
        ratio_range: of the masked share, for "uniform" and "coupled".
        block: tokens per block, for "blocks".
        shrink: denoising steps that make one step of the trace, for "trace".
        tail: what happens to places of the response after its end token. "noised": masked like the
            response; "masked": always; "visible": never; none of these three counts in the loss.
            "counted": part of the response.
        upper_power: power of the upper bound, for "bounds".
        upper_share: share of the upper bound where the advantage is negative, for "bounds".
        preference_beta: strength of the reference, for "preference".

    Raises:
        InputError: an unknown name, a number out of range, choices that exclude each other, or a
            field that differs from its default and has no effect beside the others, see
            `jaxreason.objectives.diffusion.algorithm_effects`.
    """

    noise: Noise = "timesteps"
    surrogate: Surrogate = "token"
    advantage: Advantage = "grpo"
    standard_deviation: StandardDeviation = "population"
    epsilon: float = 1e-4
    aggregation: Aggregation = "masked_tokens"
    updates: int = 4
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl_estimator: KLEstimator = "k3"
    kl_target: Literal["reference", "old"] = "reference"
    kl_coefficient: float = 0.01
    kl_summed: bool = False
    timestep_rule: TimestepRule = "alg1"
    total_timesteps: int = 1000
    first_timestep: tuple[int, int] | None = None
    timestep_scope: Literal["update", "response"] = "response"
    mask_count: Literal["bernoulli", "exact"] = "bernoulli"
    share_mask_across_group: bool = False
    prompt_mask: float = 0.0
    draws: int = 1
    ratio_range: tuple[float, float] = (0.1, 0.9)
    block: int = 32
    shrink: int = 1
    tail: Tail = "noised"
    upper_power: float = 1.0
    upper_share: float = 0.5
    preference_beta: float = 0.2

    def __post_init__(self) -> None:
        _check_names(self)
        _check_numbers(self)
        _check_combinations(self)
        check_effects(self)

    @property
    def needs_reference(self) -> bool:
        """Whether log-probabilities of the frozen reference are used."""
        penalised = self.kl_coefficient > 0 and self.kl_target == "reference"
        return penalised or self.surrogate == "preference"

    @property
    def needs_order(self) -> bool:
        """Whether the order in which the sampler revealed the tokens is used."""
        return self.noise == "trace"


def check_group(config: DiffusionAlgorithmConfig, group: int) -> None:
    """Refuse groups in which nothing can be compared.

    Raises:
        InputError: fewer than 2 responses per prompt.
    """
    if group < 2:
        raise InputError(
            f"group={group}: expected at least 2 responses per prompt: {config.advantage!r} "
            "compares them"
        )


def _check_names(config: DiffusionAlgorithmConfig) -> None:
    choices = {
        "noise": get_args(Noise),
        "surrogate": get_args(Surrogate),
        "advantage": get_args(Advantage),
        "standard_deviation": get_args(StandardDeviation),
        "aggregation": get_args(Aggregation),
        "kl_estimator": KL_ESTIMATORS,
        "kl_target": ("reference", "old"),
        "timestep_rule": TIMESTEP_RULES,
        "timestep_scope": ("update", "response"),
        "mask_count": ("bernoulli", "exact"),
        "tail": get_args(Tail),
    }
    for name, known in choices.items():
        if getattr(config, name) not in known:
            expected = ", ".join(known)
            raise InputError(f"{name}={getattr(config, name)!r}: expected one of {expected}")


def _check_numbers(config: DiffusionAlgorithmConfig) -> None:
    def check(name: str, accepted: bool, expected: str) -> None:
        if not accepted:
            raise InputError(f"{name}={getattr(config, name)}: expected {expected}")

    for name in ("updates", "total_timesteps", "draws", "block", "shrink"):
        check(name, getattr(config, name) >= 1, "at least 1")
    for name in ("clip_low", "clip_high"):  # infinity is no clipping
        check(name, getattr(config, name) >= 0, "a distance from 1, at least 0")
    for name in ("kl_coefficient", "epsilon"):
        value = getattr(config, name)
        check(name, value >= 0 and math.isfinite(value), "a finite number, at least 0")
    for name in ("upper_power", "preference_beta"):
        value = getattr(config, name)
        check(name, value > 0 and math.isfinite(value), "a finite number above 0")
    for name in ("prompt_mask", "upper_share"):
        check(name, 0 <= getattr(config, name) <= 1, "a number between 0 and 1")
    low, high = config.ratio_range
    check("ratio_range", 0 < low <= high < 1, "low, high with 0 < low <= high < 1")
    if config.first_timestep is not None:
        first, last = config.first_timestep
        within = 0 <= first <= last <= config.total_timesteps
        check("first_timestep", within, f"low, high within 0 to {config.total_timesteps}")


def _check_combinations(config: DiffusionAlgorithmConfig) -> None:
    if (config.standard_deviation != "none") and config.advantage != "grpo":
        raise InputError(
            f"standard_deviation={config.standard_deviation!r} belongs to advantage='grpo', not "
            f"{config.advantage!r}: expected 'none'"
        )
    if (config.surrogate == "coupled") != (config.noise == "coupled"):
        raise InputError(
            f"surrogate={config.surrogate!r} with noise={config.noise!r}: complementary masks "
            "and the surrogate that joins them belong together, expected 'coupled' for both"
        )
    likelihoods = LIKELIHOODS.get(config.surrogate, get_args(Noise))
    if config.noise not in likelihoods:
        raise InputError(
            f"surrogate={config.surrogate!r} with noise={config.noise!r}: the weights of this "
            f"noise make no likelihood of the response; expected one of {', '.join(likelihoods)}"
        )
    if config.noise == "trace" and config.tail == "counted":
        raise InputError(
            "tail='counted' with noise='trace': the trace ends with the end token, so that places "
            "after it would never be scored; expected 'masked', 'noised' or 'visible'"
        )
    if config.kl_summed and config.aggregation == "token_pool":
        raise InputError(
            "kl_summed=True with aggregation='token_pool': a sum per response does not go with a "
            "mean over all tokens, expected another aggregation"
        )
    known: tuple[str, ...] = get_args(Aggregation)
    if config.surrogate in SEQUENCE_LEVEL:
        known = ("response_length", "response_sum")
    if config.surrogate == "bounds":
        known = (*known, "token_pool")
    if config.aggregation not in known:
        raise InputError(
            f"aggregation={config.aggregation!r} with surrogate={config.surrogate!r}, which has "
            f"one value per response: expected one of {', '.join(known)}"
        )
    if config.surrogate in ("bounds", "preference") and config.kl_coefficient > 0:
        raise InputError(
            f"kl_coefficient={config.kl_coefficient} with surrogate={config.surrogate!r}, which "
            "has no KL term: expected 0"
        )

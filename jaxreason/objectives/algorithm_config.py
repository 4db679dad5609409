"""An online algorithm as one record of choices: advantage, surrogate, aggregation, KL.

Libraries that train "GRPO" disagree about how tokens are averaged, which standard deviation
divides, which estimator of the KL divergence is used and whether it enters reward or loss. Here
these are fields without defaults, so that no algorithm has them by accident.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from jaxreason.errors import InputError
from jaxreason.objectives.aggregation import AGGREGATIONS, Aggregation
from jaxreason.objectives.kl_divergence import KL_ESTIMATORS, KLEstimator

Advantage = Literal[
    "grpo",
    "centered",
    "rloo",
    "reinforce",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "gae",
    "prime",
    "positive",
]
Surrogate = Literal["clip", "gspo", "gspo_token", "cispo", "sequence_clip", "reinforce"]
StandardDeviation = Literal["group", "batch", "none"]
KLPlacement = Literal["none", "reward", "loss", "loss_is_corrected"]
Overlong = Literal["none", "mask", "soft"]
Granularity = Literal["token", "whole"]

GROUPED = ("grpo", "centered", "rloo", "reinforce_plus_plus_baseline", "prime")
"""Advantages that compare the completions of one prompt, hence need two of them."""

TOKEN_LEVEL = ("reinforce_plus_plus", "gae", "prime")
"""Advantages that differ from token to token of one completion."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
    """What makes an online algorithm; the published ones are in
    `jaxreason.objectives.algorithms`.

    Attributes:
        advantage: see `jaxreason.objectives.advantages`.
        surrogate: see `jaxreason.objectives.policy_gradient`.
        aggregation: see `jaxreason.objectives.aggregation`.
        standard_deviation: what divides the "grpo" advantage: the deviation of the rewards in the
            group, in the batch, or nothing.
        kl_estimator: see `jaxreason.objectives.kl_divergence`; unused with `kl_placement="none"`.
        kl_placement: where the KL divergence to the reference enters: nowhere, in the reward
            (without gradient), in the loss per token, or in the loss times the importance ratio.
        kl_coefficient: its weight.
        degrees_of_freedom: 1 for the unbiased deviation, 0 for the population's.
        epsilon: added to the deviation.
        clip_low, clip_high: the ratio is clipped to [1 - clip_low, 1 + clip_high].
        dual_clip: with A < 0, the loss is at most `dual_clip * |A|` (Ye et al. 2020); None: no
            bound.
        ratio_cap: CISPO's bound on the ratio itself; None clips to the interval above instead.
        entropy_coefficient: weight of the entropy bonus.
        discount: of token rewards, gamma.
        trace_decay: of GAE, lambda.
        value_clip: values are clipped to this distance from the old ones in the value loss; None:
            not clipped.
        process_beta: scale of PRIME's implicit process reward.
        process_weight, outcome_weight: of the two terms of PRIME's advantage.
        process_granularity: "token": each token its own reward, the last token none; "whole": their
            sum on the last token.
        process_normalised: process rewards are divided by their largest absolute sum-to-go.
        correct_above: completions with a larger reward are the correct ones of "positive".
        overlong: completions cut by the token limit are kept as they are, taken out of the loss
            ("mask"), or all long ones are punished ("soft", DAPO eq. 13).
        overlong_buffer: tokens before the limit over which the soft penalty grows from 0 to 1; 0
            stands for a fifth of the limit, DAPO's 4096 of 20480.
        missing_end_penalty: taken off the reward of completions without their end token.

    Raises:
        InputError: an unknown name, a number out of range, or choices that exclude each other.
    """

    advantage: Advantage
    surrogate: Surrogate
    aggregation: Aggregation
    standard_deviation: StandardDeviation
    kl_estimator: KLEstimator
    kl_placement: KLPlacement
    kl_coefficient: float = 0.0
    degrees_of_freedom: int = 1
    epsilon: float = 1e-4
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    ratio_cap: float | None = None
    entropy_coefficient: float = 0.0
    discount: float = 1.0
    trace_decay: float = 0.95
    value_clip: float | None = 0.2
    process_beta: float = 0.05
    process_weight: float = 5.0
    outcome_weight: float = 5.0
    process_granularity: Granularity = "token"
    process_normalised: bool = True
    correct_above: float = 0.5
    overlong: Overlong = "none"
    overlong_buffer: int = 0
    missing_end_penalty: float = 0.0

    def __post_init__(self) -> None:
        _check_names(self)
        _check_numbers(self)
        _check_combinations(self)

    @property
    def auxiliary(self) -> Literal["critic", "reward_model"] | None:
        """The second network that is trained beside the policy, if any."""
        if self.advantage == "gae":
            return "critic"
        return "reward_model" if self.advantage == "prime" else None

    @property
    def needs_reference(self) -> bool:
        """Whether log-probabilities of a frozen reference are used."""
        penalised = self.kl_placement != "none" and self.kl_coefficient > 0
        return penalised or self.advantage == "prime"

    def buffer(self, max_tokens: int) -> int:
        """Tokens over which the soft overlong penalty grows.

        Raises:
            InputError: it is longer than a completion may be.
        """
        buffer = self.overlong_buffer or max(max_tokens // 5, 1)
        if buffer > max_tokens:
            raise InputError(
                f"overlong_buffer={buffer}: expected at most the limit of {max_tokens} new tokens"
            )
        return buffer


def check_group(config: AlgorithmConfig, group: int) -> None:
    """Refuse a number of completions per prompt from which no advantage can be computed.

    Raises:
        InputError: `group` is below 1, or 1 where completions of one prompt are compared.
    """
    least = 2 if config.advantage in GROUPED else 1
    if group < least:
        why = f": {config.advantage!r} compares the completions of a prompt" if least == 2 else ""
        raise InputError(f"group={group}: expected at least {least} completions per prompt{why}")


def _check_names(config: AlgorithmConfig) -> None:
    choices = {
        "advantage": get_args(Advantage),
        "surrogate": get_args(Surrogate),
        "aggregation": AGGREGATIONS,
        "standard_deviation": get_args(StandardDeviation),
        "kl_estimator": KL_ESTIMATORS,
        "kl_placement": get_args(KLPlacement),
        "process_granularity": get_args(Granularity),
        "overlong": get_args(Overlong),
        "degrees_of_freedom": (0, 1),
    }
    for name, known in choices.items():
        if getattr(config, name) not in known:
            expected = ", ".join(map(str, known))
            raise InputError(f"{name}={getattr(config, name)!r}: expected one of {expected}")


def _check_numbers(config: AlgorithmConfig) -> None:
    def check(name: str, accepted: bool, expected: str) -> None:
        if not accepted:
            raise InputError(f"{name}={getattr(config, name)}: expected {expected}")

    for name in ("clip_low", "clip_high"):  # infinity is no clipping
        check(name, getattr(config, name) >= 0, "a distance from 1, at least 0")
    for name in (
        *("kl_coefficient", "entropy_coefficient", "epsilon", "missing_end_penalty"),
        *("process_weight", "outcome_weight"),
    ):
        value = getattr(config, name)
        check(name, value >= 0 and math.isfinite(value), "a finite number, at least 0")
    for name in ("discount", "trace_decay"):
        check(name, 0 <= getattr(config, name) <= 1, "a number between 0 and 1")
    dual, cap, value_clip = config.dual_clip, config.ratio_cap, config.value_clip
    check("dual_clip", dual is None or dual > 1, "more than 1, or none")
    check("ratio_cap", cap is None or cap > 0, "more than 0, or none")
    check("value_clip", value_clip is None or value_clip > 0, "more than 0, or none")
    beta = config.process_beta
    check("process_beta", beta > 0 and math.isfinite(beta), "a finite number above 0")
    check("correct_above", math.isfinite(config.correct_above), "a finite number")
    check("overlong_buffer", config.overlong_buffer >= 0, "a number of tokens, at least 0")


def _check_combinations(config: AlgorithmConfig) -> None:
    if config.kl_coefficient > 0 and config.kl_placement == "none":
        raise InputError(
            f"kl_coefficient={config.kl_coefficient} with kl_placement='none' has no effect: "
            "place it in 'reward', 'loss' or 'loss_is_corrected'"
        )
    if config.kl_placement == "reward" and config.advantage in ("prime", "positive"):
        raise InputError(
            f"kl_placement='reward' does not go with advantage={config.advantage!r}, which reads "
            "correctness off the reward: place it in the loss"
        )
    if config.standard_deviation != "none" and config.advantage != "grpo":
        raise InputError(
            f"standard_deviation={config.standard_deviation!r} belongs to advantage='grpo', not "
            f"{config.advantage!r}: expected 'none'"
        )
    if config.surrogate in ("gspo", "sequence_clip") and config.advantage in TOKEN_LEVEL:
        raise InputError(
            f"surrogate={config.surrogate!r} has one ratio per completion, but the advantages of "
            f"{config.advantage!r} differ from token to token: use 'gspo_token' or 'clip'"
        )

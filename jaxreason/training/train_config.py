"""How long a run is and what it keeps, and what it ends with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from jaxreason.errors import InputError
from jaxreason.training.state import TrainState


@dataclass(frozen=True)
class TrainConfig:
    """How long, how often, and what to keep.

    Attributes:
        steps: optimizer steps (for RL: rollouts, each with its inner updates); may be raised later
            to train on (the schedule's length is `OptimizerConfig.total_steps`).
        accumulation: micro-batches per step.
        seed: of the parameters and of the objective's randomness.
        log_every: steps per row of metrics.jsonl.
        evaluate_every: steps between evaluations (and one at the end); 0 for none at all.
        save_every: steps between checkpoints (and one at the end); 0 for the one at the end only.
        keep_last: newest checkpoints kept.
        keep_every: checkpoints at multiples of this step are kept for good; 0 for none.
        max_consecutive_skipped: non-finite steps in a row after which the run fails.
        tensorboard: also write TensorBoard event files.
        step_timeout: seconds without a finished step after which a process dumps its stacks into
            `stacks/` and ends with exit code 43, to be started again; six times as many if there
            was an evaluation, a checkpoint or something to compile, and for a step that is a
            rollout. 0 for never; by default 600 with several processes and 0 with one. What comes
            before the run directory is opened (a base is read, completions are drawn) is not
            watched, as it may take hours: there a dead process is missed after 100 seconds, and
            one that is stuck is not.
    """

    steps: int = 1000
    accumulation: int = 1
    seed: int = 0
    log_every: int = 20
    evaluate_every: int = 0
    save_every: int = 0
    keep_last: int = 2
    keep_every: int = 0
    max_consecutive_skipped: int = 10
    tensorboard: bool = False
    step_timeout: float | None = None

    def __post_init__(self) -> None:
        least = {"evaluate_every": 0, "save_every": 0, "keep_every": 0, "seed": 0}
        least["step_timeout"] = 0
        for name, value in asdict(self).items():
            if name != "tensorboard" and value is not None and value < least.get(name, 1):
                raise InputError(
                    f"train.{name} is {value}; it must be at least {least.get(name, 1)}"
                )


class TrainResult(NamedTuple):
    """A run that reached its last step.

    Attributes:
        state: the final state, on its devices.
        last_row: the last training row of metrics.jsonl written by this process, if any.
        seconds: wall time of this process by part, and `wall`, their sum.
    """

    state: TrainState
    last_row: Mapping[str, Any] | None
    seconds: Mapping[str, float]

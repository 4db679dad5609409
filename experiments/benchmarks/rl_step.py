"""A step of online RL by phase: GRPO against TRL, and UniGRPO of a diffusion model.

    python experiments/benchmarks/one.py rl_step [--quick] [--peer-python PYTHON]

Random weights of the preset maze_tiny on small mazes: an answer ends where the end token happens to
be drawn, which is as likely for both, so nearly every batch decodes to its last token. Ours judges
plans with the verifier, TRL counts words. Both penalise divergence from a frozen copy.
Hardware: any; about a minute on two cores, three without `--quick`.
"""

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from peer_models import save_for_peer
from suite import Peer, Row, contestant, ratio, take_turns

from jaxreason.data import MazeData
from jaxreason.data.multimodal.maze_world import MazeWorld
from jaxreason.models import Transformer, preset
from jaxreason.objectives.algorithms import ALGORITHMS
from jaxreason.objectives.diffusion.algorithms import DIFFUSION_ALGORITHMS
from jaxreason.objectives.diffusion.policy import diffusion_policy
from jaxreason.objectives.policy_gradient import policy_gradient
from jaxreason.sampling import autoregressive
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.clock import Clock
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.reinforcement import (
    DiffusionReinforcementStep,
    make_diffusion_scorers,
)
from jaxreason.training.diffusion.reinforcement_task import answer_reward
from jaxreason.training.diffusion.rollouts import (
    DiffusionRolloutConfig,
    DiffusionRollouts,
    MazeAnswers,
    sampler_of,
)
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.reinforcement import ReinforcementStep, make_scorers
from jaxreason.training.rollouts import RolloutConfig, RolloutSource
from jaxreason.training.state import state_from_params
from jaxreason.training.step import make_step

PHASES = {"sampling": "sampling", "reward": "reward", "scoring": "scoring", "step": "update"}
"""Parts of the clock, and what the table calls them."""


class Ours(NamedTuple):
    """A step that can be repeated, and the clock its phases are measured by."""

    work: Callable[[], Any]
    clock: Clock


def optimizer() -> optax.GradientTransformation:
    """AdamW at a rate that hardly moves the policy."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-6))


def repeated(step: Any, state: Any, clock: Clock, problems: int) -> Ours:
    """The step on the same problems again and again."""
    held = [state]
    batch = {"problems": np.arange(problems)}

    def work() -> None:
        held[0], _ = step(held[0], batch)
        jax.block_until_ready(held[0].params)

    return Ours(work, clock)


def grpo(experiment: MazeExperiment, model: Transformer, params: Any, quick: bool) -> Ours:
    """Our GRPO step, of the parts a run is made of."""
    clock, algorithm = Clock(), ALGORITHMS["grpo"]
    config = rollout_config(quick)
    vocabulary, source = experiment.vocabulary(), experiment.source()
    sampler = autoregressive(
        model,
        max_new_tokens=config.max_new_tokens,
        eos=vocabulary.eos,
        pad=vocabulary.pad,
        temperature=config.temperature,
        samples=config.group,
    )
    rollouts = RolloutSource(
        config, sampler, experiment.reward, source.problem, vocabulary, None, clock.measure
    )
    objective = policy_gradient(
        model,
        algorithm,
        max_tokens=config.max_new_tokens,
        batch_rows=config.rows,
        temperature=config.temperature,
    )
    scorers = make_scorers(model, algorithm, config, None)
    update = make_step(objective, optimizer())
    step = ReinforcementStep(rollouts, algorithm, scorers, update, None, params, None, clock)
    state = state_from_params(params, optimizer(), jax.random.key(0), None)
    return repeated(step, state, clock, config.prompts)


def rollout_config(quick: bool) -> RolloutConfig:
    """Of GRPO."""
    if quick:
        return RolloutConfig(prompts=2, group=8, max_new_tokens=32)
    return RolloutConfig(prompts=16, group=8, max_new_tokens=64)


def unigrpo(quick: bool) -> Ours:
    """Our UniGRPO step on plans of 3x3 mazes, decoded four tokens a step."""
    clock, algorithm, task = Clock(), DIFFUSION_ALGORITHMS["unigrpo"], "plan"
    experiment = MaskedDiffusionExperiment(
        world=MazeWorld(width=3, height=3, count=64, minimum_path_cells=None),
        model=preset("mmada_tiny", 0),
        rows={task: 4},
    )
    model = experiment.transformer()
    params = jax.jit(model.init)(jax.random.key(0))
    config = DiffusionRolloutConfig(prompts=2 if quick else 8, group=4 if quick else 8)
    source, mode = experiment.source(), experiment.objective.mask_mode
    decoding = DecodingConfig(temperature=1.0, tokens_per_step=4)
    sampler, steps = sampler_of(model, source, task, decoding, config.group, mode)
    reward = answer_reward(source, task, {"plan_valid": 1.0, "finished": 0.1}, None)
    rollouts = DiffusionRollouts(
        config, MazeAnswers(source, task), sampler, reward, None, clock.measure
    )
    shown: dict[str, Any] = {"mask_id": source.vocabulary.ids.mask, "mask_mode": mode}
    scorers = make_diffusion_scorers(model, algorithm, group=config.group, steps=steps, **shown)
    update = make_step(diffusion_policy(model, algorithm, **shown), optimizer())
    step = DiffusionReinforcementStep(rollouts, algorithm, scorers, update, params, None, clock)
    state = state_from_params(params, optimizer(), jax.random.key(0), None)
    return repeated(step, state, clock, config.prompts)


def with_phases(ours: Ours, told: list[dict[str, float]]) -> Callable[[], None]:
    """The work, each call telling its seconds by phase."""

    def work() -> None:
        before = ours.clock.seconds()
        ours.work()
        after = ours.clock.seconds()
        told.append({name: after[part] - before[part] for part, name in PHASES.items()})

    return work


def phase_rows(
    case: str,
    told: Sequence[Mapping[str, float]],
    whole: Sequence[float],
    peer: str,
    peer_told: Sequence[Mapping[str, float]],
    peer_whole: Sequence[float],
    **row: Any,
) -> list[Row]:
    """A row for each phase and one for the whole step, in seconds."""

    def line(phase: str, mine: Sequence[float], theirs: Sequence[float]) -> Row:
        return Row(
            case=f"{case}: {phase}",
            value=statistics.median(mine),
            unit="s/step",
            peer=peer if theirs or phase != "reward" else "",
            peer_value=statistics.median(theirs) if theirs else None,
            **ratio(mine, theirs),
            **row,
        )

    rows = [line("whole step", whole, peer_whole)]
    for phase in PHASES.values():
        # Rewards are no contest: ours verifies plans, the peer's counts words.
        theirs = [found[phase] for found in peer_told if phase != "reward"]
        rows.append(line(phase, [found[phase] for found in told], theirs))
    return rows


def measure(quick: bool, peer: Peer) -> list[Row]:
    """Rows of the suite."""
    keep_freed_memory()
    rounds = 2 if quick else 9
    experiment = MazeExperiment(
        data=MazeData(width=5, height=5, count=64, regime="solution_only"),
        model=preset("maze_tiny", 0, unroll=4),
    )
    model, config = experiment.transformer(), rollout_config(quick)
    params = jax.jit(model.init)(jax.random.key(0))
    told: list[dict[str, float]] = []
    ours = with_phases(grpo(experiment, model, params, quick), told)
    lacking = peer.lacks("torch", "transformers", "trl")
    case = (
        f"GRPO, maze_tiny, {config.prompts} prompts x {config.group} completions of up to "
        f"{config.max_new_tokens} tokens, float32"
    )
    fixed: dict[str, Any] = {"benchmark": "rl_step", "missing": lacking}
    if lacking:
        seconds = take_turns({"ours": contestant(ours)}, rounds)
        rows = phase_rows(case, told[1:], seconds["ours"], "TRL GRPO", [], [], **fixed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            settings = peer_settings(experiment, model, params, config, folder)
            with peer.start("grpo", settings) as other:
                contestants = {"ours": contestant(ours), **other.contestants()}
                seconds = take_turns(contestants, rounds)
                name = "TRL GRPO"
                parts = [
                    split_update(*x)
                    for x in zip(other.told.get(name, [])[1:], seconds[name], strict=True)
                ]
                rows = phase_rows(
                    case, told[1:], seconds["ours"], name, parts, seconds[name], **fixed
                )
    told = []
    seconds = take_turns({"ours": contestant(with_phases(unigrpo(quick), told))}, rounds)
    case = f"UniGRPO, mmada_tiny, plans of 3x3 mazes, {'2 x 4' if quick else '8 x 8'}, float32"
    rows += phase_rows(
        case,
        told[1:],
        seconds["ours"],
        "",
        [],
        [],
        benchmark="rl_step",
        note="no peer runs on a CPU",
    )
    return rows


def split_update(phases: Mapping[str, float], whole: float) -> dict[str, float]:
    """What is none of the other phases is the update."""
    return {**phases, "update": whole - sum(phases.values())}


def peer_settings(
    experiment: MazeExperiment, model: Transformer, params: Any, config: RolloutConfig, folder: str
) -> dict[str, Any]:
    """What TRL's step is made of."""
    vocabulary, source = experiment.vocabulary(), experiment.source()
    words = list(vocabulary.words)
    prompts = [vocabulary.encode_prompt(source.problem(i)) for i in range(config.prompts)]
    return {
        **save_for_peer(model.config, params, folder),
        "words": words,
        "ids": {name: int(getattr(vocabulary, name)) for name in ("pad", "unk", "bos", "eos")},
        "texts": [" ".join(words[token] for token in prompt) for prompt in prompts],
        "prompts": config.prompts,
        "group": config.group,
        "max_new_tokens": config.max_new_tokens,
        "kl_coefficient": ALGORITHMS["grpo"].kl_coefficient,
    }

"""What the benchmark of diffusion decoding lets compete: a trained run, and random weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.models import Transformer, preset
from jaxreason.training.runs import load_run
from jaxreason.types import Completions, Params


@dataclass(frozen=True)
class Benchmark:
    """What to measure.

    Attributes:
        run: run directory of a `MaskedDiffusionExperiment`; "" measures random weights alone.
        task: what the run is asked: plan, read_plan or read_maze.
        mazes: held-out mazes that are judged.
        answer_length: tokens decoded per answer; 0 takes the world's room, in whole blocks.
        lengths: tokens decoded from random weights; empty measures the run alone.
        prompt: tokens of the prompts of random weights.
        model: preset of random weights.
        vocabulary: number of words of random weights.
        batches: rows decoded together.
        block: tokens of a block.
        threshold: probability from which a token is kept.
        rounds: times each contestant is measured.
        output: folder for the results.
        name: of the files in it.
    """

    run: str = ""
    task: str = "plan"
    mazes: int = 64
    answer_length: int = 0
    lengths: tuple[int, ...] = (64, 256)
    prompt: int = 64
    model: str = "maze_tiny"
    vocabulary: int = 128
    batches: tuple[int, ...] = (1, 16)
    block: int = 32
    threshold: float = 0.9
    rounds: int = 5
    output: Path = Path(__file__).parent / "results"
    name: str = "diffusion_sampling"


class Contest(NamedTuple):
    """One table of contestants.

    Attributes:
        name: of the table.
        model, params: what is decoded from.
        length, block: of the decoding.
        ids: `mask_id`, `eos`, `pad`.
        prompts: `tokens [N, P]`, `lengths [N]`.
        methods: contestant to what its config has besides.
        judge: right or wrong for each of the N answers; None on random weights.
    """

    name: str
    model: Transformer
    params: Params
    length: int
    block: int
    ids: dict[str, int | None]
    prompts: dict[str, np.ndarray]
    methods: dict[str, dict[str, Any]]
    judge: Callable[[Completions], np.ndarray] | None


def methods_of_run(threshold: float) -> dict[str, dict[str, Any]]:
    """Contestants on a trained model."""
    fast = {"threshold": threshold}
    return {
        "vanilla": {"stop_early": False},
        "early stop": {},
        "threshold": fast,
        "prefix": {"cache": "prefix"},
        "dual": {"cache": "dual"},
        "prefix + threshold": {"cache": "prefix", **fast},
        "dual + threshold": {"cache": "dual", **fast},
    }


def methods_of_cost(length: int, block: int, exact: bool) -> dict[str, dict[str, Any]]:
    """Contestants on random weights; `exact` for block-diffusion models."""
    fast = {"steps": length // block * max(block // 4, 1)}
    methods: dict[str, dict[str, Any]] = {"vanilla": {}, "4 tokens per step": fast}
    for cache in ("block",) if exact else ("prefix", "dual"):
        methods[cache] = {"cache": cache}
        methods[f"{cache}, 4 tokens per step"] = {"cache": cache, **fast}
    return methods


def run_contest(settings: Benchmark) -> Contest:
    """The contest on a trained run."""
    run = load_run(settings.run)
    source = run.experiment.source(split="test", count=max(settings.mazes, 2))
    indices = list(range(settings.mazes))
    room = settings.answer_length or source.answer_room(settings.task)
    block = min(settings.block, room)
    problems = [source.problem(i) for i in indices]

    def judge(completions: Completions) -> np.ndarray:
        return np.asarray(source.judge(settings.task, problems, completions).values) > 0

    ids = source.vocabulary.ids
    return Contest(
        name=f"{settings.task}, trained",
        model=run.model,
        params=run.params,
        length=block * -(-room // block),
        block=block,
        ids={"mask_id": ids.mask, "eos": ids.eos, "pad": ids.pad},
        prompts=source.prompts(indices, settings.task),
        methods=methods_of_run(settings.threshold),
        judge=judge,
    )


def cost_contests(settings: Benchmark) -> Iterator[Contest]:
    """Contests on random weights: bidirectional, then block diffusion."""
    size, most = settings.vocabulary, max(settings.batches)
    tokens = np.random.default_rng(0).integers(0, size - 1, (most, settings.prompt))
    prompts = {
        "tokens": tokens.astype(np.int32),
        "lengths": np.full(most, settings.prompt, np.int32),
    }
    for attention in ("bidirectional", "block_causal"):
        model = Transformer(preset(settings.model, size, attention=attention))
        params = jax.jit(model.init)(jax.random.key(0))
        for length in settings.lengths:
            block = min(settings.block, length)
            methods = methods_of_cost(length, block, exact=attention == "block_causal")
            ids = {"mask_id": size - 1, "eos": None, "pad": 0}
            name = f"{length} tokens, random weights, {attention}"
            yield Contest(name, model, params, length, block, ids, prompts, methods, None)

"""All stages at toy sizes, to see that everything works: `stages.py --quick`.

The numbers mean nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages import Stages, standard

from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.decoding import DecodingConfig


def toy(root: Path, reasoning: Sequence[str]) -> Stages:
    """4x4 mazes, a few thousand weights, a few steps; runs and report lie in a folder `quick`."""
    whole = standard(root, reasoning)
    first, mixed, last = whole.first, whole.mixed, whole.reinforcement
    world = replace(first.world, width=4, height=4, count=120, minimum_path_cells=None)
    model = TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional")
    decoding = DecodingConfig(block=8, tokens_per_step=4, image_steps=2)
    short: dict[str, Any] = {"steps": 6, "log_every": 2, "evaluate_every": 0, "save_every": 0}
    first = replace(
        first,
        world=world,
        model=model,
        decoding=decoding,
        train=replace(first.train, **short),
        rows=dict.fromkeys(first.rows, 1),
    )
    mixed = replace(
        mixed,
        world=replace(world, reasoning="correct", text_length=None),
        model=model,
        decoding=decoding,
        train=replace(mixed.train, **short),
        rows=dict.fromkeys(mixed.rows, 1),
    )
    last = replace(
        last,
        problems=16,
        rollout=replace(last.rollout, prompts=2, group=2, minibatches=1),
        decoding=replace(last.decoding, block=8, tokens_per_step=8, threshold=None),
        train=replace(last.train, steps=2, log_every=1, evaluate_every=0, save_every=0),
        held_out=4,
    )
    tokenizer = replace(
        whole.tokenizer,
        data=replace(whole.tokenizer.data, count=64),
        train=replace(whole.tokenizer.train, **short),
        batch_size=4,
        validation_pictures=8,
    )
    return replace(
        whole,
        root=root / "quick",
        tokenizer=tokenizer,
        first=first,
        mixed=mixed,
        reinforcement=last,
        tasks=("plan", "read_plan", "draw_solution"),
        mazes=6,
        shown=3,
    )

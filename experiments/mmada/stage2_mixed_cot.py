"""Stage 2: mixed long chain-of-thought, `<think> trace </think> answer` in text and pictures.

    jaxreason train experiments/mmada/stage2_mixed_cot.py --run runs/mmada/stage2-correct
    jaxreason train experiments/mmada/stage2_mixed_cot.py --run runs/mmada/stage2-swapped \
        --world.reasoning swapped

Goes on from `runs/mmada/stage1`. The reasoning is the A* trace of the maze (of another maze if
swapped); before a drawing it is written first, then the picture. Rows are as long as the longest
trace asks for.
"""

from dataclasses import replace
from pathlib import Path

from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.runs import load_experiment

STEPS = 8_000
TEXT_LENGTH = 117
"""The longest of the 20,000 training mazes needs 114; no maze of the kind more than 141."""

_stage1 = load_experiment(Path(__file__).parent / "stage1.py")

experiment = replace(
    _stage1,
    world=replace(_stage1.world, reasoning="correct", text_length=TEXT_LENGTH),
    base="runs/mmada/stage1",
    objective=replace(
        _stage1.objective,
        coefficients=TaskCoefficients(t2i=1.0, lm=0.1, lm_chat=1.0, mmu=1.0, r2i=1.0),
    ),
    rows={"draw_maze": 1, "draw_solution": 3, "read_plan": 4, "read_maze": 1, "plan": 7},
    decoding=DecodingConfig(threshold=0.95),
    optimizer=replace(_stage1.optimizer, learning_rate=2e-3, total_steps=STEPS),
    train=TrainConfig(steps=STEPS, log_every=50, evaluate_every=0, save_every=1_000),
)

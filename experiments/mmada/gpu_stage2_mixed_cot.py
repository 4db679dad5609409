"""Stage 2 for one GPU: mixed long chain-of-thought on the 10x10 mazes of `gpu_stage1.py`.

    jaxreason train experiments/mmada/gpu_stage2_mixed_cot.py --run runs/mmada-gpu/stage2-correct
    jaxreason train experiments/mmada/gpu_stage2_mixed_cot.py --run runs/mmada-gpu/stage2-swapped \
        --world.reasoning swapped

Not run by us yet, so no number is published for it.
"""

from dataclasses import replace
from pathlib import Path

from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.runs import load_experiment

STEPS = 20_000

_stage1 = load_experiment(Path(__file__).parent / "gpu_stage1.py")

experiment = replace(
    _stage1,
    world=replace(_stage1.world, reasoning="correct"),
    base="runs/mmada-gpu/stage1",
    model=replace(_stage1.model, remat="names"),
    rows={"draw_maze": 8, "draw_solution": 24, "read_plan": 32, "read_maze": 8, "plan": 32},
    decoding=DecodingConfig(block=32, threshold=0.9, cache="dual", image_steps=20),
    optimizer=replace(_stage1.optimizer, learning_rate=1e-3, total_steps=STEPS),
    train=replace(_stage1.train, steps=STEPS),
)

"""Stage 1 for one GPU: 10x10 mazes, 15 M parameters, bfloat16.

    jaxreason train experiments/mmada/gpu_stage1.py --run runs/mmada-gpu/stage1

One token per cell; `--tokenizer RUN` takes a trained image tokenizer of 10x10 mazes instead. Not
run by us yet, so no number is published for it.
"""

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models.presets import preset
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 30_000

experiment = MaskedDiffusionExperiment(
    world=MazeWorld(width=10, height=10, count=500_000, minimum_path_cells=6),
    model=preset("maze_small", 0, attention="bidirectional", dtype="bfloat16", rope_base=100.0),
    objective=MaskedDiffusionConfig(coefficients=TaskCoefficients(lm=0.1, lm_chat=1.0)),
    rows={
        "draw_maze": 32,
        "draw_solution": 64,
        "read_plan": 64,
        "read_maze": 16,
        "plan": 64,
        "text": 16,
    },
    decoding=DecodingConfig(image_steps=20, guidance=1.5),
    optimizer=OptimizerConfig(
        method="muon",
        learning_rate=2e-3,
        warmup_steps=500,
        total_steps=STEPS,
        final_fraction=0.02,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=100, evaluate_every=5_000, save_every=5_000),
    held_out=128,
)

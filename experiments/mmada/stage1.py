"""Stage 1: text, understanding and generation from scratch, without reasoning.

    jaxreason train experiments/mmada/stage1.py --run runs/mmada/stage1

4x4 mazes, 0.2 M parameters. Pictures are one code per cell here; `--tokenizer RUN` takes a trained
image tokenizer of such mazes, as `experiments/mmada/stages.py` does.
"""

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 10_000

experiment = MaskedDiffusionExperiment(
    world=MazeWorld(width=4, height=4, minimum_path_cells=3),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=3,
        width=64,
        heads=4,
        kv_heads=4,
        head_size=16,
        mlp_width=192,
        attention="bidirectional",
        # Rows are short: slow angles would hardly differ from place to place.
        rope_base=100.0,
        unroll=3,
    ),
    # The release weighs text 0.1; here it is a task like the others.
    objective=MaskedDiffusionConfig(coefficients=TaskCoefficients(lm=0.1, lm_chat=1.0)),
    # Drawing and reading a maze is learned in minutes; where to go takes most of the time.
    rows={
        "draw_maze": 2,
        "draw_solution": 6,
        "read_plan": 10,
        "read_maze": 1,
        "plan": 12,
        "text": 1,
    },
    # Blocks from left to right would cost a quarter of the valid plans, see README.md.
    decoding=DecodingConfig(threshold=0.9),
    optimizer=OptimizerConfig(
        method="muon",
        learning_rate=4e-3,
        warmup_steps=50,
        total_steps=STEPS,
        final_fraction=0.02,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=50, evaluate_every=2_500, save_every=1_000),
    held_out=50,
)

"""The model that RL on 4x4 mazes starts from: plans in words and drawn solutions, half learned.

    jaxreason train experiments/mmada/unigrpo_base.py --run runs/mmada/unigrpo_base

0.1 M parameters, one code per cell. It is stopped long before it has learned what it can, so that
rewards differ within a group and there is something to improve: the base of `unigrpo_text.py`,
`unigrpo_image.py`, `unigrpo_ablation.py` and `unigrpo_sparsity.py`.
"""

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 1_500

experiment = MaskedDiffusionExperiment(
    world=MazeWorld(width=4, height=4, minimum_path_cells=3),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=2,
        width=64,
        heads=4,
        kv_heads=4,
        head_size=16,
        mlp_width=192,
        attention="bidirectional",
        unroll=2,
    ),
    # Pictures are learned much sooner than words.
    objective=MaskedDiffusionConfig(coefficients=TaskCoefficients(t2i=0.2, lm_chat=1.0)),
    rows={"plan": 32, "draw_solution": 8},
    decoding=DecodingConfig(block=4, image_steps=8),
    optimizer=OptimizerConfig(
        method="muon", learning_rate=3e-3, warmup_steps=50, total_steps=STEPS, final_fraction=0.1
    ),
    train=TrainConfig(steps=STEPS, log_every=50, evaluate_every=500, save_every=500),
    held_out=100,
)

"""Block diffusion on the `plan` task: description -> plan, in blocks of eight tokens.

    jaxreason train experiments/mmada/block_diffusion.py --run runs/mmada/block_diffusion

The model of `experiments/mmada/stage1.py` (5x5 mazes, 0.2 M parameters) on one of its tasks, as
BD3-LM (Arriola et al. 2025, arXiv 2503.09573): blocks one after the other, masked diffusion inside
each. What a finished block adds to keys and values never changes, so decoding with the cache
(`--decoding.cache none` turns it off) gives the same tokens as without, in fewer operations.
"""

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 4_000
BLOCK = 8

experiment = MaskedDiffusionExperiment(
    world=MazeWorld(),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=3,
        width=64,
        heads=4,
        kv_heads=4,
        head_size=16,
        mlp_width=192,
        attention="block_causal",
        rope_base=100.0,
        unroll=3,
    ),
    blocks=BlockTraining(BLOCK, at_least_one=True),
    rows={"plan": 16},
    decoding=DecodingConfig(block=BLOCK, cache="block"),
    optimizer=OptimizerConfig(
        method="muon",
        learning_rate=4e-3,
        warmup_steps=50,
        total_steps=STEPS,
        final_fraction=0.02,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=50, evaluate_every=1_000, save_every=1_000),
    held_out=50,
)

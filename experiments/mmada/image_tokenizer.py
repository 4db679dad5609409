"""An image tokenizer for 6x6 mazes: one code of 6 bits per cell, on two CPU cores.

    jaxreason train experiments/mmada/image_tokenizer.py --run runs/mmada/tokenizer

About three minutes, a third of it compiling, measured while other programs ran. One run (seed 0)
gave back all of 2000 test pictures exactly, every cell, with 20 of the 64 codes; a code tells what
its cell is in 98 % of the places, the rest takes its neighbours. `runs/mmada/tokenizer/report/`
shows pictures beside their reconstructions, and how the codebook is used.

Single trials of the same length, exact held-out pictures (of 256): 98 % with the entropy of single
bits at weight 0.1 as in the reference (8 codes), 72 % with that and learning rate 8e-3, 0 % with
that and the L1 distance, 100 % with the entropy of bits at weight 0.02 (4 codes).
"""

from jaxreason.data.multimodal.pictures import PictureData
from jaxreason.models.magvit import MagvitConfig
from jaxreason.objectives.image_tokenizer import TokenizerLossConfig
from jaxreason.training.diffusion.image_tokenizer_experiment import ImageTokenizerExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 1500

experiment = ImageTokenizerExperiment(
    data=PictureData(kind="mazes", generator="wilson", width=6, height=6, cell_pixels=4),
    model=MagvitConfig(
        channels=8,
        encoder_multipliers=(1, 2, 4),
        encoder_blocks=(1, 1, 1),
        decoder_multipliers=(1, 2, 4),
        decoder_blocks=(1, 1, 1),
        code_bits=6,
        groups=4,
    ),
    optimizer=OptimizerConfig(
        learning_rate=3e-3,
        warmup_steps=50,
        total_steps=STEPS,
        final_fraction=0.02,
        weight_decay=0.0,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=20, evaluate_every=250),
    loss=TokenizerLossConfig(entropy=0.01, entropy_of="codes"),
    batch_size=16,
)

"""An image tokenizer for scikit-learn's handwritten digits: 36 codes of 8 bits per picture.

    jaxreason train experiments/mmada/digit_tokenizer.py --run runs/mmada/digits

Needs the extra `images`. About as long as `image_tokenizer.py` beside it; one run (seed 0) came to
a mean absolute error of 7.0 of 255 on the 180 held-out digits, with 235 of the 256 codes used at a
perplexity of 134. `runs/mmada/digits/report/` then shows held-out digits beside their
reconstructions, and how the codebook is used.
"""

from jaxreason.data.multimodal.pictures import PictureData
from jaxreason.models.magvit import MagvitConfig
from jaxreason.objectives.image_tokenizer import TokenizerLossConfig
from jaxreason.training.diffusion.image_tokenizer_experiment import ImageTokenizerExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 1500

experiment = ImageTokenizerExperiment(
    data=PictureData(kind="digits", side=24),
    model=MagvitConfig(
        channels=8,
        encoder_multipliers=(1, 2, 4),
        encoder_blocks=(1, 1, 1),
        decoder_multipliers=(1, 2, 4),
        decoder_blocks=(1, 1, 1),
        code_bits=8,
        groups=4,
    ),
    loss=TokenizerLossConfig(entropy=0.01, entropy_of="codes"),
    optimizer=OptimizerConfig(
        learning_rate=3e-3,
        warmup_steps=50,
        total_steps=STEPS,
        final_fraction=0.02,
        weight_decay=0.0,
        b2=0.99,
    ),
    train=TrainConfig(steps=STEPS, log_every=20, evaluate_every=500),
    batch_size=16,
    validation_pictures=180,
)

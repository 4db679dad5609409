"""The scale of Stechly et al. (2025): 30x30 Wilson mazes, 50,000 problems, Qwen2.5-0.5B's shape.

    jaxreason train experiments/maze/paper.py --run runs/paper/swapped --data.regime swapped
    jaxreason train experiments/maze/paper.py --run runs/paper/sf_swapped --data.regime swapped \
        --data.generator searchformer
    jaxreason evaluate runs/paper/swapped --count 1000 --max-new-tokens 8192
    jaxreason evaluate runs/paper/swapped --generators free_space --count 400 \
        --max-new-tokens 16384

0.36 B parameters, 2e9 tokens (13.6 passes over the data, packed to rows of 8,192 tokens, which
hold every ground-truth sequence). By arithmetic about 4 hours on one H100 at 40 % of its peak;
not run by us yet, so no number is published for it. Compiled for a TPU v5e-4 it needs 7.3 of
15.75 GiB a chip (`jaxreason preflight experiments/maze/paper.py --topology v5e-4`).

The authors' code states the data, the vocabulary, the model's shape and the optimizer (AdamW).
Learning rate, weight decay, warm-up, batch and steps are not in any source we could check: the
values here are second-hand and a starting point.
"""

from jaxreason.data import BatchConfig, MazeData
from jaxreason.models import preset
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 62_500

experiment = MazeExperiment(
    data=MazeData(generator="wilson", width=30, height=30, count=50_000, regime="correct"),
    batch=BatchConfig(batch_size=4, length=8192),
    model=preset("qwen2_0_5b", vocabulary_size=0),
    optimizer=OptimizerConfig(
        learning_rate=2.2758e-4,
        warmup_steps=100,
        total_steps=STEPS,
        final_fraction=0.0,
        weight_decay=0.1528,
    ),
    train=TrainConfig(
        steps=STEPS, log_every=50, evaluate_every=2_500, save_every=500, keep_every=12_500
    ),
)

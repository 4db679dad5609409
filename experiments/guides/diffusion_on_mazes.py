"""Guide: train a masked-diffusion model of words and pictures on mazes, and look at its answers.

    python experiments/guides/diffusion_on_mazes.py --steps 1500    # minutes on two CPU cores
    python experiments/guides/diffusion_on_mazes.py                  # a few steps

Writes runs/guide-diffusion: a run directory that `jaxreason evaluate`, `sample`, `report` and
reinforcement learning (experiments/mmada/unigrpo_text.py --base) take. Run it again with more
`--steps` and it goes on where it stopped.
"""

import argparse

from jaxreason.cli.main import main as jaxreason
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig


def experiment(steps):
    """4x4 mazes, 0.1 M parameters. An experiment is one value; every field has a docstring."""
    return MaskedDiffusionExperiment(
        # One maze is described in words and drawn, one code per cell, so both directions between
        # text and picture can be trained and every answer can be judged exactly.
        world=MazeWorld(width=4, height=4, count=5_000, minimum_path_cells=3),
        model=TransformerConfig(0, 2, 64, 4, 4, 16, 192, attention="bidirectional", unroll=2),
        # Rows of each task in a batch: a plan in words, and the solved maze as a picture.
        rows={"plan": 32, "draw_solution": 8},
        # An answer starts as masks; blocks of 4 words are filled in, the surest first.
        decoding=DecodingConfig(block=4, image_steps=8),
        # The schedule does not depend on how far this call goes, so a longer one can go on.
        optimizer=OptimizerConfig(method="muon", learning_rate=3e-3, total_steps=1_500),
        train=TrainConfig(steps=steps, log_every=50, evaluate_every=500, save_every=500),
        held_out=100,
    )


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--run", default="runs/guide-diffusion")
    options.add_argument("--mazes", type=int, default=4, help="to answer afterwards")
    given = options.parse_args()

    # Loss, throughput and verdicts on held-out mazes go to metrics.jsonl beside the checkpoints.
    experiment(given.steps).run(given.run)

    # The share of right answers by task. What this prints is also in evaluation/.
    jaxreason(["evaluate", given.run, "--count", str(given.mazes), "--tasks", "plan"])

    # One maze, its answer, and an animation of the order in which the picture was unmasked.
    drawn = f"{given.run}/drawn"
    jaxreason(["sample", given.run, "--task", "draw_solution", "--count", "1", "--out", drawn])


if __name__ == "__main__":
    main()

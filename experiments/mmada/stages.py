"""One command from nothing to a table: tokenizer, stage 1, mixed chain-of-thought, UniGRPO.

    python experiments/mmada/stages.py            # within an hour on two CPU cores
    python experiments/mmada/stages.py --quick    # toy sizes, under two minutes
    python experiments/mmada/stages.py --reasoning correct swapped none    # whose traces?

Every stage is judged on test mazes: pictures read and solved, mazes and solutions drawn, plans from
words. Finished stages are skipped and interrupted ones go on, so the same command completes
whatever is there. Runs lie in runs/mmada/stages; the table and the page with pictures, inpainting
and animations in its folder report.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxreason.evaluation.diffusion import examples
from jaxreason.evaluation.diffusion.measuring import judge_of, measure_run
from jaxreason.evaluation.diffusion.report import Moving, Report, Sheet, write
from jaxreason.evaluation.diffusion.stage_table import StageResult, stage_lines
from jaxreason.models.presets import count_parameters
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.cache import enable_compilation_cache
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.runs import load_experiment, load_run

_HERE = Path(__file__).parent
TASKS = ("plan", "read_plan", "read_maze", "draw_maze", "draw_solution")
REASONING = ("correct", "swapped", "none")
ROOT = Path("runs/mmada/stages")


@dataclass(frozen=True)
class Stages:
    """What is trained, where it is kept and on how many mazes it is judged.

    Attributes:
        root: folder of the runs and of the report.
        tokenizer: trains the image tokenizer.
        first: stage 1.
        mixed: stage 2; its base and its reasoning are filled in.
        reinforcement: stage 3; its base is filled in.
        reasoning: variants of stage 2 to train; stage 3 goes on from the first of them.
        tasks: judged after each stage.
        mazes: judged per task.
        shown: mazes on a sheet of pictures.
    """

    root: Path
    tokenizer: Any
    first: MaskedDiffusionExperiment
    mixed: MaskedDiffusionExperiment
    reinforcement: Any
    reasoning: tuple[Any, ...] = REASONING[:1]
    tasks: tuple[str, ...] = TASKS
    mazes: int = 200
    shown: int = 8

    def experiments(self) -> dict[str, Any]:
        """Every run by its folder's name, in the order of training."""
        tokenizer, first = str(self.root / "tokenizer"), str(self.root / "stage1")
        made: dict[str, Any] = {
            "tokenizer": replace(self.tokenizer, data=self.pictures()),
            "stage1": replace(self.first, tokenizer=tokenizer),
        }
        for reasoning in self.reasoning:
            world = replace(self.mixed.world, reasoning=reasoning)
            made[f"stage2-{reasoning}"] = replace(
                self.mixed, tokenizer=tokenizer, base=first, world=world
            )
        made["stage3"] = replace(self.reinforcement, base=self.path(self.main_variant))
        return made

    def pictures(self) -> Any:
        """What the tokenizer is trained on: pictures of the kind of mazes all stages see."""
        world, same = self.first.world, ("generator", "width", "height", "coverage")
        fields = (*same, "wall_fraction", "minimum_path_cells")
        return replace(self.tokenizer.data, **{name: getattr(world, name) for name in fields})

    @property
    def main_variant(self) -> str:
        """The stage 2 that stage 3 goes on from."""
        return f"stage2-{self.reasoning[0]}"

    def path(self, name: str) -> str:
        """A run's folder."""
        return str(self.root / name)

    def finished(self, name: str) -> bool:
        """Whether a run has reached its last step."""
        return (self.root / name / "summary.json").is_file()

    def measure(self, name: str, label: str) -> StageResult:
        """What a finished run can do."""

        def on_task(task: str) -> None:
            print(f"{name}: judging {task} on {self.mazes} mazes", flush=True)

        return measure_run(self.root / name, label, self.tasks, mazes=self.mazes, on_task=on_task)


def run(stages: Stages) -> list[StageResult]:
    """Train what is missing, judge every stage, write the report; returns the stage table."""
    labels = {
        "stage1": "stage 1: text and pictures",
        **{f"stage2-{r}": f"+ mixed chain of thought ({r})" for r in REASONING},
        "stage3": "+ UniGRPO",
    }
    found: dict[str, StageResult] = {}
    for name, experiment in stages.experiments().items():
        if stages.finished(name):
            print(f"{name}: finished before", flush=True)
        else:
            print(f"{name}: training", flush=True)
            experiment.run(stages.path(name))
        if name in labels:
            found[name] = stages.measure(name, labels[name])
            print(stage_lines(list(found.values())), flush=True)
    variants = [found[name] for name in found if name.startswith("stage2-")]
    table = [found[name] for name in ("stage1", stages.main_variant, "stage3")]
    report = Report(
        "A model that reads, draws and solves mazes",
        "Masked diffusion over words and pictures, trained in the stages of MMaDA.",
        table,
        variants if len(variants) > 1 else [],
        sheets(stages),
        moving(stages),
        facts(stages),
    )
    print(f"report: {write(stages.root / 'report', report)}")
    return table


def sheets(stages: Stages) -> list[Sheet]:
    """Pictures made after stage 1 and after the last stage."""
    first, last = load_run(stages.path("stage1")), load_run(stages.path("stage3"))
    judge = judge_of(first, mazes=stages.shown, batch=stages.shown)
    made = examples.sheets_of(judge, first.params, stages.tasks, stages.shown, "stage 1")
    made.append(examples.inpainting_sheet(judge, first.params, stages.shown, "Inpainting, stage 1"))
    made.append(
        examples.extrapolation_sheet(judge, first.params, stages.shown, "Beyond the edge, stage 1")
    )
    judge = judge_of(last, mazes=stages.shown, batch=stages.shown)
    drawn = [task for task in stages.tasks if task != "draw_maze"]
    return made + examples.sheets_of(judge, last.params, drawn, stages.shown, "last stage")


def moving(stages: Stages) -> list[Moving]:
    """How words and pictures appear."""
    first, last = load_run(stages.path("stage1")), load_run(stages.path("stage3"))
    # One token per step, all places at once: the order is the model's own.
    slow = DecodingConfig(image_steps=first.experiment.decoding.image_steps)
    made = []
    for name, trained, tasks in (
        ("stage 1", first, ("plan", "draw_solution")),
        ("last stage", last, ("plan", "draw_solution")),
    ):
        trained = trained._replace(experiment=replace(trained.experiment, decoding=slow))
        judge = judge_of(trained, mazes=stages.shown, batch=stages.shown)
        slug = name.replace(" ", "_")
        words, picture = tasks
        shown = judge, trained.params
        made.append(examples.moving_words(*shown, words, stages.shown, f"words_{slug}"))
        made.append(examples.moving_picture(*shown, picture, stages.shown, f"picture_{slug}"))
    return made


def facts(stages: Stages) -> dict[str, str]:
    """What was trained, for the end of the page."""
    trained = load_run(stages.path("stage1"))
    source, world = trained.experiment.source(count=2), trained.experiment.world
    codec = source.codec
    return {
        "mazes": f"{world.width}x{world.height}, {world.generator}, {world.count:,} for training",
        "model": f"{count_parameters(trained.params):,} parameters, {trained.model.config.layers} "
        f"layers of width {trained.model.config.width}",
        "pictures": f"{codec.tokens} tokens out of {codec.codes} codes",
        "rows": f"{source.layout.length} tokens in stage 1",
        "judged": f"{stages.mazes} test mazes per task",
    }


def standard(root: Path = ROOT, reasoning: Sequence[str] = REASONING[:1]) -> Stages:
    """The stages of README.md."""
    return Stages(
        root,
        load_experiment(_HERE / "image_tokenizer.py"),
        load_experiment(_HERE / "stage1.py"),
        load_experiment(_HERE / "stage2_mixed_cot.py"),
        load_experiment(_HERE / "stage3_unigrpo.py"),
        tuple(reasoning),
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes; the numbers mean nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of runs and report")
    parser.add_argument(
        "--reasoning", nargs="+", choices=REASONING, default=list(REASONING[:1]), help="variants"
    )
    given = parser.parse_args()
    enable_compilation_cache()
    keep_freed_memory()
    if given.quick:
        from toy_stages import toy

        run(toy(given.root, given.reasoning))
    else:
        run(standard(given.root, given.reasoning))


if __name__ == "__main__":
    _main()

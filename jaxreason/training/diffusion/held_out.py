"""What a diffusion model makes of held-out mazes: its loss, and exact verdicts on its answers."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.data.multimodal.judging import Judgement, written_ids
from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS
from jaxreason.data.multimodal.maze_world import MazeWorldSource
from jaxreason.data.multimodal.mixing import TaskSource, mixed_batches
from jaxreason.mazes import Problem
from jaxreason.models import Transformer
from jaxreason.sampling.diffusion.images import ImageCompletions, ImageSampler, diffusion_image
from jaxreason.sampling.diffusion.text import diffusion_text
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.placement import place_everywhere, to_host
from jaxreason.training.diffusion.decoding import sampled_mode
from jaxreason.training.diffusion.rollouts import widen_prompts
from jaxreason.training.judging import ambient, draw, judge_rows
from jaxreason.types import Completions, Objective, Params, Sampler

LOSS_BATCHES = 8
"""Batches of held-out rows whose loss is taken; their masks are always the same."""


class Answered(NamedTuple):
    """A model's answers to one task, as numpy arrays.

    Attributes:
        task: of the world.
        problems: one per answer.
        judgement: verdicts, see `MazeWorldSource.judge`.
        words: answers in words; of a picture, the reasoning before it; None where there is none.
        pictures: answers in pictures; None where there are none.
    """

    task: str
    problems: list[Problem]
    judgement: Judgement
    words: Completions | None
    pictures: ImageCompletions | None


class Judge:
    """Decodes answers to held-out mazes and judges them; one compiled program per task and sampler.

    Args:
        experiment: a `MaskedDiffusionExperiment`: its world and how answers are decoded.
        model: the transformer.
        mesh: devices the answers are split over; None for where the parameters are.
        mazes: held-out mazes.
        batch: mazes decoded together.
        split: which mazes; "validation" or "test".

    Raises:
        InputError: a model trained with a mask mode that no sampler has.
    """

    def __init__(
        self,
        experiment: Any,
        model: Transformer,
        mesh: Mesh | None = None,
        *,
        mazes: int,
        batch: int = 32,
        split: str = "validation",
    ) -> None:
        ways = 1 if mesh is None else math.prod(mesh.shape[axis] for axis in BATCH_AXES)
        self.decoding = experiment.decoding
        self.mask_mode = sampled_mode(experiment.objective.mask_mode)
        self.model = model
        self.mesh = mesh
        self.mazes = mazes
        self.batch = ways * -(-min(batch, mazes) // ways)
        # Swapped traces need another maze to take one from.
        self.source: MazeWorldSource = experiment.source(split=split, count=max(mazes, 2))
        self._samplers: dict[tuple[str, str], Any] = {}

    def answer_length(self, task: str) -> int:
        """Tokens decoded for an answer in words."""
        return self.decoding.text(self.source.answer_room(task)).length

    def text_sampler(self, task: str) -> Sampler:
        """Words of the task's answers; compiled at its first call."""
        if (task, "text") not in self._samplers:
            ids = self.source.vocabulary.ids
            self._samplers[task, "text"] = diffusion_text(
                self.model,
                self.decoding.text(self.source.answer_room(task), self.mask_mode),
                mask_id=ids.mask,
                eos=ids.eos,
                pad=ids.pad,
            )
        return self._samplers[task, "text"]

    def image_sampler(self, task: str) -> ImageSampler:
        """Pictures of the task's answers; compiled at its first call."""
        if (task, "image") not in self._samplers:
            ids = self.source.vocabulary.ids
            self._samplers[task, "image"] = diffusion_image(
                self.model,
                self.decoding.image(self.source.codec.tokens, mask_mode=self.mask_mode),
                image_offset=ids.image_offset,
                image_codes=ids.image_codes,
                mask_id=ids.mask,
            )
        return self._samplers[task, "image"]

    def answer(
        self,
        params: Params,
        task: str,
        *,
        sampler: Sampler | None = None,
        mazes: int | None = None,
        seed: int = 0,
    ) -> Answered:
        """Answers to the first mazes, judged.

        Args:
            params: of the model.
            task: of the world.
            sampler: of words, instead of the experiment's.
            mazes: how many; all by default.
            seed: of the sampling.
        """
        count = self.mazes if mazes is None else mazes
        found = []
        for first in range(0, count, self.batch):
            kept = min(self.batch, count - first)
            # The last batch is filled up, so that nothing is compiled again.
            indices = [first + min(i, kept - 1) for i in range(self.batch)]
            key = jax.random.fold_in(jax.random.key(seed), first)
            answered = self._answer(params, task, indices, key, sampler)
            found.append(jax.tree.map(lambda x, kept=kept: x[:kept], answered))
        words, pictures = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
        problems = [self.source.problem(i) for i in range(count)]
        answers = words if pictures is None else pictures.codes

        def judge(problems: Sequence[Problem], answers: Any) -> Judgement:
            return self.source.judge(task, problems, answers)

        judgement = judge_rows(judge, problems, answers, self.mesh)
        return Answered(task, problems, judgement, words, pictures)

    def _answer(
        self, params: Params, task: str, indices: list[int], key: jax.Array, sampler: Any
    ) -> tuple[Completions | None, ImageCompletions | None]:
        source, words = self.source, None
        drawing = task in PICTURE_TASKS
        prompts = source.prompts(indices, task)
        if not drawing or source.world.reasons:
            sampler = self.text_sampler(task) if sampler is None else sampler
            if self.mask_mode == "bool":
                # Hidden padding changes nothing, and prompts of a few widths compile less often.
                prompts = widen_prompts(prompts, source.vocabulary.ids.pad)
            words = draw(sampler, params, prompts, key, self.mesh)
            if drawing:
                reasoning, _ = written_ids(words, source.vocabulary.eos)
                prompts = source.image_prompts(indices, task, reasoning)
        if not drawing:
            return words, None
        sample = self.image_sampler(task)
        return words, draw(sample, params, prompts, key, self.mesh)


def held_out_numbers(
    experiment: Any, model: Transformer, mesh: Mesh | None
) -> Callable[[Params, int], Mapping[str, float]]:
    """`(params, step) -> numbers` on mazes of the validation split.

    `validation_*`: the objective's metrics on rows whose masks are always the same. If the
    experiment's `held_out` is not 0, `held_out_TASK` and `held_out_TASK_NAME` besides: the share of
    answers of each trained task that are correct, and what else its judge says, of
    `held_out_mazes` mazes.
    """
    losses = validation_losses(
        experiment.make_objective(model),
        lambda: experiment.source(split="validation", count=max(experiment.held_out, 256)),
        experiment.rows,
        mesh,
        experiment.text_dropout,
    )
    judge: list[Judge] = []
    if experiment.held_out:
        sampled_mode(experiment.objective.mask_mode)

    def evaluate(params: Params, step: int) -> Mapping[str, float]:
        del step
        numbers = losses(params)
        if not experiment.held_out:
            return numbers
        if not judge:
            judge.append(Judge(experiment, model, mesh, mazes=experiment.held_out))
        numbers["held_out_mazes"] = float(experiment.held_out)
        for task in experiment.tasks():
            verdicts = judge[0].answer(params, task).judgement
            numbers[f"held_out_{task}"] = float(verdicts.values.mean())
            for name, values in verdicts.breakdown.items():
                if name != "correct":
                    numbers[f"held_out_{task}_{name}"] = float(values.mean())
        return numbers

    return evaluate


def validation_losses(
    objective: Objective,
    make_source: Callable[[], TaskSource],
    rows: Mapping[str, int],
    mesh: Mesh | None,
    text_dropout: float,
) -> Callable[[Params], dict[str, float]]:
    """`params -> {validation_METRIC: mean}` over a few batches whose masks are always the same.

    Args:
        objective: loss on a diffusion batch.
        make_source: the rows, made at the first call.
        rows: rows of each task in a batch.
        mesh: devices; None is one.
        text_dropout: share of text-to-image rows without their text, as in training.
    """

    @jax.jit
    def measure(params: Params, batch: Any, key: jax.Array) -> Any:
        return objective(params, batch, key)[1]

    batches: list[Any] = []

    def evaluate(params: Params) -> dict[str, float]:
        if not batches:
            mixed = mixed_batches(make_source(), rows, text_dropout=text_dropout, prefetch=0)
            stream = iter(mixed)
            batches.extend(place_everywhere(next(stream), mesh) for _ in range(LOSS_BATCHES))
        totals: dict[str, np.ndarray] = {}
        for place, batch in enumerate(batches):
            with ambient(mesh):
                measured = to_host(measure(params, batch, jax.random.key(place)))
            for name, pair in measured.items():
                totals[name] = totals.get(name, np.zeros(2)) + np.array(pair)
        return {
            f"validation_{name}": float(total / count)
            for name, (total, count) in totals.items()
            if count > 0
        }

    return evaluate

"""Rows, prompts and verdicts of a maze world, example by example; the tasks: `maze_tasks`."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from jaxreason.data.multimodal.judging import Answers, Judgement, judge_pictures, judge_texts
from jaxreason.data.multimodal.maze_pictures import cell_pixels, encode_pictures, maze_cells
from jaxreason.data.multimodal.maze_room import (
    Lengths,
    check_blocks,
    check_room,
    default_text_length,
    sentence_lengths,
)
from jaxreason.data.multimodal.maze_sentences import MazeSentences
from jaxreason.data.multimodal.maze_tasks import PICTURE_TASKS, TASKS_OF_WORLD, MazeWorld
from jaxreason.data.sources import CACHE_BYTES
from jaxreason.errors import InputError
from jaxreason.mazes.astar import Trace
from jaxreason.mazes.generators import generate_solved_batch
from jaxreason.mazes.problem import Problem
from jaxreason.tokens import layouts
from jaxreason.tokens.image_codec import ImageCodec, PaletteCodec
from jaxreason.tokens.layouts import LayoutConfig, LayoutRow
from jaxreason.tokens.maze_world_vocabulary import MazeWorldVocabulary

__all__ = ["PICTURE_TASKS", "TASKS_OF_WORLD", "MazeWorld", "MazeWorldSource"]

ROW_OVERHEAD = 900
"""Bytes that the objects of a cached row take beside its arrays, about."""


class MazeWorldSource:
    """The examples of a `MazeWorld`; `source[i, task]` depends on world, codec, i and task alone.

    All mazes are solved when the source is made, and all pictures of one kind are encoded, in
    batches, when the first of them is needed.

    Args:
        world: the data set.
        codec: from pictures to codes; None takes one code per cell.
        on_pictures: called with (pictures encoded, pictures in all) after each batch of them.
        cache_bytes: bound on the memory for rows that later epochs use again.
        block: the length of a row is a multiple of this.

    Attributes:
        vocabulary: words, specials and image codes.
        layout: sizes of the rows.
        tasks: each task of the world to the layout of its rows.
        identity: what a saved data position must agree with.

    Raises:
        InputError: an example does not fit into the rows, or the codec's pictures do not fit the
            grid.
    """

    def __init__(
        self,
        world: MazeWorld,
        codec: ImageCodec | None = None,
        on_pictures: Callable[[int, int], None] | None = None,
        cache_bytes: int = CACHE_BYTES,
        block: int = 1,
    ) -> None:
        self.world = world
        self.codec = PaletteCodec(world.width, world.height) if codec is None else codec
        self._cell_pixels = cell_pixels(world.width, world.height, self.codec)
        self._on_pictures = on_pictures
        self.vocabulary = MazeWorldVocabulary(world.width, world.height, self.codec.codes)
        self.sentences = MazeSentences(self.vocabulary, world.description)
        self.tasks = {task: world.layout_task(task) for task in TASKS_OF_WORLD}
        text = world.text_length
        if text is None:
            text = default_text_length(world, self.sentences.chat_words, self.codec.tokens, block)
        self.layout = LayoutConfig(text, self.codec.tokens, self.vocabulary.ids)
        check_blocks(self.layout, block)
        self._solved = generate_solved_batch(
            world.data.maze, world.seed, range(world.count), world.split, world.tie_break
        )
        self._donors = world.data.donors()
        check_room(world, self.layout, self.lengths)
        self.identity = {
            "world": world.identity,
            "text_length": text,
            "codec": dict(self.codec.identity),
        }
        self._pictures: dict[bool, np.ndarray] = {}
        self._cache: dict[tuple[int, str], LayoutRow] = {}
        self._cache_room = cache_bytes

    def __len__(self) -> int:
        return self.world.count

    def count(self, task: str) -> int:
        """Examples of a task: every maze is one."""
        self._check_task(task)
        return len(self)

    @cached_property
    def lengths(self) -> Lengths:
        """Words of prompt and answer of every example, per task."""
        solved = self._solved
        events = np.diff(solved.event_offsets)[self._donors]
        walls = (~solved.floors).sum((1, 2))
        if self.world.reasons:
            # What is told and what is thought may be of two mazes; take the longer one for both.
            walls = np.maximum(walls, walls[self._donors])
        return sentence_lengths(
            self.world,
            self.sentences.chat_words,
            walls,
            events,
            np.diff(solved.plan_offsets),
        )

    def __getitem__(self, key: tuple[int, str]) -> LayoutRow:
        """The training row of (example, task)."""
        index, task = key
        return self.row(index, task)

    def row(self, index: int, task: str, drop_text: bool = False) -> LayoutRow:
        """A training row, read-only; `drop_text` empties the text of a text-to-image row.

        Raises:
            InputError: unknown task.
        """
        index = self._checked(index, task)
        if drop_text:
            return self._make_row(index, task, drop_text)
        known = self._cache.get((index, task))
        if known is None:
            known = self._make_row(index, task, drop_text)
            # An epoch visits every example once, so evicting to make room would gain nothing.
            size = ROW_OVERHEAD + sum(array.nbytes for array in known)
            if size <= self._cache_room:
                self._cache_room -= size
                self._cache[index, task] = known
        return known

    def _make_row(self, index: int, task: str, drop_text: bool) -> LayoutRow:
        row = self._lay_out(index, task, drop_text)
        for array in row:
            array.setflags(write=False)  # the cache hands out the same arrays again
        return row

    def _lay_out(self, index: int, task: str, drop_text: bool) -> LayoutRow:
        text = np.concatenate([self.question(index, task), self.answer(index, task)])
        layout = self.tasks[task]
        if layout == "lm":
            return layouts.lm(self.layout, text)
        if layout == "lm_chat":
            return layouts.lm_chat(self.layout, text)
        codes = self.codes(index, solved=task == "draw_solution")
        if layout == "t2i":
            return layouts.t2i(self.layout, text, codes, drop_text)
        return (layouts.mmu if layout == "mmu" else layouts.r2i)(self.layout, text, codes)

    def problem(self, index: int) -> Problem:
        """Problem `index`."""
        return self._solved[self._checked(index)][0]

    def trace(self, index: int) -> Trace:
        """The problem's own trace and plan, whatever the examples show."""
        return self._solved[self._checked(index)][1]

    def donor(self, index: int) -> int:
        """Whose reasoning example `index` shows."""
        return int(self._donors[self._checked(index)])

    def question(self, index: int, task: str) -> np.ndarray:
        """Ids of what is asked, int32 [n], without bos."""
        index = self._checked(index, task)
        layout = self.tasks[task]
        problem = None if layout == "mmu" else self._solved[index][0]
        return self.sentences.question(task, problem, chat=layout not in ("t2i", "lm"))

    def answer(self, index: int, task: str) -> np.ndarray:
        """Ids of the right answer in words, int32 [n], without eos; the reasoning of a drawing."""
        index = self._checked(index, task)
        problem, trace = self._solved[index]
        about_plan = task not in ("draw_maze", "read_maze")
        parts = [np.empty(0, np.int32)]
        if self.world.reasons:
            donor, donor_trace = self._solved[int(self._donors[index])]
            if about_plan:
                reasoning = self.sentences.trace(donor_trace)
            else:
                reasoning = self.sentences.describe(donor, other=True)
            parts.append(self.sentences.thought(reasoning))
        if task not in PICTURE_TASKS:
            own = self.sentences.plan(trace.plan) if about_plan else None
            parts.append(self.sentences.describe(problem) if own is None else own)
        return np.concatenate(parts)

    def codes(self, index: int, solved: bool = False) -> np.ndarray:
        """int32 [N], the picture of maze `index`, or of the maze with its plan."""
        index = self._checked(index)
        if solved not in self._pictures:
            self._pictures[solved] = encode_pictures(
                maze_cells(self._solved, solved), self._cell_pixels, self.codec, self._on_pictures
            )
        return self._pictures[solved][index].astype(np.int32)

    def prompt(self, index: int, task: str) -> Any:
        """What a sampler gets for one example.

        Returns:
            For a drawing without reasoning the dict of `layouts.t2i_inference`; else ids int32 [n],
            unpadded: with reasoning a drawing begins with its text, and
            `layouts.r2i_image_inference` of `image_text` is the prompt of the picture.
        """
        layout = self.tasks[task] if task in self.tasks else self.world.layout_task(task)
        text = self.question(index, task)
        if layout == "t2i":
            return layouts.t2i_inference(self.layout, text)
        if layout == "mmu":
            return layouts.mmu_inference(self.layout, text, self.codes(index))
        if layout == "r2i":
            return layouts.r2i_inference(self.layout, text)
        return layouts.lm_inference(self.layout, text)

    def prompts(self, indices: Sequence[int], task: str) -> dict[str, np.ndarray]:
        """Prompts of several examples as one batch, for text `tokens [B, P]` and `lengths [B]`.

        For drawings without reasoning the batch of `layouts.stack_prompts`.
        """
        rows = [self.prompt(index, task) for index in indices]
        if self.world.layout_task(task) == "t2i":
            return layouts.stack_prompts(rows)
        return layouts.pad_prompts(rows, self.vocabulary.ids.pad)

    def image_prompts(
        self, indices: Sequence[int], task: str, reasoning: Sequence[np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Prompts of pictures after reasoning (r2i).

        Args:
            indices: examples.
            task: "draw_maze" or "draw_solution".
            reasoning: per example, the ids that were written after the prompt, up to eos; whatever
                they are, they stay, cut where the row has no more room.
        """
        rows = []
        for index, written in zip(indices, reasoning, strict=True):
            question = self.question(index, task)
            row = layouts.r2i_image_inference(self.layout, question)
            begin = 2 + len(question)
            room = self.layout.text_length - begin  # one place stays for eos
            row["tokens"][begin : begin + min(room, len(written))] = written[:room]
            rows.append(row)
        return layouts.stack_prompts(rows)

    def answer_room(self, task: str) -> int:
        """Tokens a text sampler should leave for an answer, eos included.

        So many that every answer of the data set fits, and no more than a training row has after
        the longest prompt, unless an answer needs them.
        """
        self._check_task(task)
        layout = self.tasks[task]
        if layout == "t2i":
            raise InputError(f"task {task!r} has no answer in words")
        before = {"mmu": self.layout.image_tokens + 4, "r2i": 1}.get(layout, 1)
        end = self.layout.text_length if layout == "r2i" else self.layout.length
        room = end - before - int(np.max(self.lengths.prompt[task]))
        return max(room, 1 + int(np.max(self.lengths.answer[task])))

    def judge(
        self, task: str, problems: Sequence[Problem], answers: Answers | np.ndarray
    ) -> Judgement:
        """Verdicts on answers; see `judging`.

        Args:
            task: of the world.
            problems: the maze of each answer.
            answers: codes [B, N] for drawings; for words `Completions` or ids [B, n] that follow
                the prompt.

        Raises:
            InputError: unknown task, or not one answer per problem.
        """
        self._check_task(task)
        if task in PICTURE_TASKS:
            return judge_pictures(task, problems, np.asarray(answers), self.codec, self.world)
        return judge_texts(task, problems, answers, self.sentences, self.world)

    def _check_task(self, task: str) -> None:
        self.world.layout_task(task)

    def _checked(self, index: int, task: str | None = None) -> int:
        if task is not None:
            self._check_task(task)
        index = int(index)
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside the data set of {len(self)} examples")
        return index

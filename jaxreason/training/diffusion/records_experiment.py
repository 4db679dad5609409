"""Masked diffusion on records of text and pictures, from scratch or from published weights."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
from jax.sharding import Mesh

from jaxreason.data.multimodal.maze_room import check_blocks
from jaxreason.data.multimodal.record_source import RecordSource, RecordText
from jaxreason.data.multimodal.records import PICTURED, TaskRecord
from jaxreason.errors import InputError
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.sharding.mesh import MeshConfig, make_mesh
from jaxreason.tokens.image_codec import ImageCodec
from jaxreason.tokens.layouts import TASKS, LayoutConfig
from jaxreason.tokens.multimodal_vocabulary import MultimodalIds, mmada_ids
from jaxreason.tokens.multimodal_words import MultimodalWords, words_of
from jaxreason.tokens.text_tokenizer import TokenizerFile, mmada_ids_of
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.bounds import BoundConfig
from jaxreason.training.diffusion.checks import check_rows
from jaxreason.training.diffusion.records_data import WORD_TEXT, RecordsData, record_texts
from jaxreason.training.diffusion.supervised import diffusion_parts, task_batches
from jaxreason.training.loop import TrainConfig, TrainResult, train
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.parts import TrainingParts
from jaxreason.training.run_directory import check_run_directory
from jaxreason.types import Objective, Params


@dataclass(frozen=True)
class RecordsExperiment:
    """Masked-diffusion training of one model on records.

    Attributes:
        data: the records.
        tokenizer: `tokenizer.json` of LLaDA or MMaDA (extra `hf`); "" takes whole words.
        word_list: the vocabulary then; none are given at first: they are those of the training
            records, and config.json holds them.
        image_tokenizer: run directory of a trained image tokenizer; "" if there are no images.
        model: shape and numerics; vocabulary_size 0 stands for what tokenizer and base have.
        objective: weights of the tasks, noise and normalisation.
        blocks: block diffusion, for tasks without drawing; see `MaskedDiffusionExperiment`.
        rows: rows of each task (lm, lm_chat, mmu, t2i, r2i) in a batch, of all processes together.
        text_dropout: share of the t2i rows whose text is left out.
        optimizer: AdamW or Muon and its schedule.
        train: lengths and intervals.
        mesh: how devices are arranged.
        held_out: held-out records of each task whose perplexity is bounded at an evaluation; 0
            takes the loss on them alone.
        bounds: how they are scored.
        loss_chunk: tokens whose logits exist at once; 0 computes all logits together.
        base: what to take the parameters from: the run directory of such an experiment, a published
            folder of LLaDA or MMaDA, or a run made of one (`jaxreason convert`); "" starts from
            fresh ones.
        base_step: which of its checkpoints; the newest by default.
    """

    data: RecordsData = field(default_factory=RecordsData)
    tokenizer: str = ""
    word_list: tuple[str, ...] = ()
    image_tokenizer: str = ""
    model: TransformerConfig = field(
        default_factory=lambda: TransformerConfig(
            0, 4, 128, 4, 4, 32, 384, attention="bidirectional"
        )
    )
    objective: MaskedDiffusionConfig = field(default_factory=MaskedDiffusionConfig)
    blocks: BlockTraining = field(default_factory=BlockTraining)
    rows: dict[str, int] = field(default_factory=lambda: {"lm_chat": 8})
    text_dropout: float = 0.1
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    held_out: int = 64
    bounds: BoundConfig = field(default_factory=BoundConfig)
    loss_chunk: int = 0
    base: str = ""
    base_step: int | None = None

    kind: ClassVar[str] = "diffusion_records"

    def __post_init__(self) -> None:
        for name in ("held_out", "loss_chunk"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 0")
        for task, rows in self.rows.items():
            if task not in TASKS:
                raise InputError(f"rows has task {task!r}; expected some of {', '.join(TASKS)}")
            if rows < 0:
                raise InputError(f"rows of {task} is {rows}; it must be at least 0")
        if not self.tasks():
            raise InputError("rows has no task with at least one row")
        drawn = [task for task in self.tasks() if task in ("t2i", "r2i")]
        self.blocks.check(self.model, self.objective, drawn)

    def tasks(self) -> tuple[str, ...]:
        """The tasks that are trained, in the order of the layouts."""
        return tuple(task for task in TASKS if self.rows.get(task, 0))

    @cached_property
    def _train(self) -> Sequence[TaskRecord]:
        return self.data.read("train")

    def codec(self) -> ImageCodec | None:
        """From pictures to tokens and back, read once; None without an image tokenizer.

        Raises:
            FailureError: the tokenizer's run directory holds none.
        """
        return self._codec

    @cached_property
    def _codec(self) -> ImageCodec | None:
        if not self.image_tokenizer:
            return None
        from jaxreason.training.diffusion.image_codec import load_image_codec

        return load_image_codec(self.image_tokenizer)

    @cached_property
    def _texts(self) -> MultimodalWords | TokenizerFile:
        if self.tokenizer:
            return TokenizerFile(self.tokenizer)
        words = self.word_list or words_of(record_texts(self._train))
        codes = self.data.image_codes if self._codec is None else self._codec.codes
        return MultimodalWords(words, codes)

    @cached_property
    def ids(self) -> MultimodalIds:
        """Special tokens and images by name and range."""
        texts = self._texts
        return texts.ids if isinstance(texts, MultimodalWords) else mmada_ids_of(texts)

    def settled(self) -> "RecordsExperiment":
        """The same with words and vocabulary_size written out, as config.json holds it.

        Raises:
            InputError: a bad record, or a model too small for the tokens.
            FailureError: files that cannot be read.
        """
        texts, words = self._texts, self.word_list
        size = self.model.vocabulary_size
        if isinstance(texts, MultimodalWords):
            words, needed = texts.identity["words"], texts.size
            if size not in (0, needed):
                raise InputError(
                    f"model.vocabulary_size is {size}, but the words of the records with their "
                    f"pictures are {needed} tokens; use {needed} or 0"
                )
            size = needed
        else:
            pictured = any(task in PICTURED for task in self.tasks())
            needed = self.ids.image_offset + self.ids.image_codes if pictured else texts.size
            size = size or (self._base_config.vocabulary_size if self.base else self.ids.size)
            if size < needed:
                raise InputError(
                    f"model.vocabulary_size is {size}, but {self.tokenizer} and the pictures of "
                    f"{', '.join(self.tasks())} need {needed}; a base can be extended with "
                    "`jaxreason convert --vocabulary-size`"
                )
        model = replace(self.model, vocabulary_size=size)
        return replace(self, word_list=tuple(words), model=model)

    def transformer(self) -> Transformer:
        """The model, its vocabulary settled."""
        config = self.model if self.model.vocabulary_size else self.settled().model
        return Transformer(config)

    def words(self) -> str:
        """What the vocabulary is of, for messages."""
        return f"records of {self.data.train}"

    def words_text(self) -> RecordText:
        """How records become text."""
        return WORD_TEXT if isinstance(self._texts, MultimodalWords) else RecordText()

    def source(self) -> RecordSource:
        """The training rows.

        Raises:
            InputError: a bad record, or one that does not fit; names file and line.
            FailureError: a file that cannot be read.
        """
        return self._source(self._train)

    def held_out_source(self) -> RecordSource:
        """The rows that are held out; errors as for `source`, and no held-out data."""
        return self._source(self.data.read("held_out"))

    def _source(self, records: Sequence[TaskRecord]) -> RecordSource:
        codec = self._codec
        tokens = self.data.image_tokens if codec is None else codec.tokens
        layout = LayoutConfig(self.data.text_length, tokens, self.ids)
        check_blocks(layout, max(self.blocks.length, 1))
        return RecordSource(
            records,
            self._texts,
            layout,
            codec=codec,
            text=self.words_text(),
            overflow=self.data.overflow,
            pictures=self.data.pictures,
        )

    def make_objective(self, model: Transformer) -> Objective:
        """The loss on a diffusion batch."""
        # Every tokenizer that is accepted has MMaDA's mask token, so its file is not needed here.
        mask = mmada_ids().mask if self.tokenizer else self.ids.mask
        return self.blocks.objective(model, mask, self.objective, self.loss_chunk or None)

    def parts(self, mesh: Mesh | None) -> TrainingParts:
        """What a run compiles; with `model.vocabulary_size` set, no file is needed to know it."""
        tokens = self.data.image_tokens if self._codec is None else self._codec.tokens
        ids = mmada_ids() if self.tokenizer else self.ids
        length = LayoutConfig(self.data.text_length, tokens, ids).length
        return diffusion_parts(self, sum(self.rows.values()), length, mesh)

    def device_mesh(self) -> Mesh | None:
        """The mesh over all devices; None on a single one."""
        shape = self.mesh.shape(jax.device_count())
        return None if math.prod(shape) == 1 else make_mesh(self.mesh)

    def as_json(self) -> dict[str, Any]:
        """What config.json holds once settled; `training.runs` reads it back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def run(self, run_directory: str | Path, progress: bool = True) -> TrainResult:
        """Train in a run directory, or go on with what is there.

        Raises:
            InputError: records, fields or base that do not fit, or a directory of another
                experiment.
            FailureError: see `training.loop.train`; files that cannot be read.
        """
        from jaxreason.training.diffusion.kept_codec import keep_codec
        from jaxreason.training.diffusion.records_held_out import record_numbers

        check_run_directory(run_directory, self.train.tensorboard)
        mesh = self.device_mesh()
        check_rows(sum(self.rows.values()), self.train.accumulation, mesh)
        experiment = self.settled()
        source = experiment.source()
        self._check_tasks(source)
        evaluate = None
        if self.train.evaluate_every:
            evaluate = record_numbers(experiment, experiment.held_out_source(), mesh)
        parts, initial = experiment.parts(mesh), experiment.initial_params()
        if (codec := experiment.codec()) is not None:
            keep_codec(run_directory, codec)
        return train(
            run_directory,
            objective=parts.objective,
            model_init=parts.model_init if initial is None else None,
            initial_params=initial,
            optimizer=parts.optimizer,
            optimizer_config=self.optimizer,
            train_config=self.train,
            batches=task_batches(self, source, mesh),
            mesh=mesh,
            evaluate_fn=evaluate,
            config_json=experiment.as_json(),
            flops_per_token=parts.flops_per_token,
            progress=progress,
        )

    @cached_property
    def _base_config(self) -> TransformerConfig:
        from jaxreason.training.runs import read_experiment

        return read_experiment(self.base).transformer().config

    def initial_params(self) -> Params | None:
        """The base's parameters; None without a base.

        Raises:
            InputError: the base has other tokens or another shape.
            FailureError: it is not a run directory, or has no such checkpoint.
        """
        if not self.base:
            return None
        from jaxreason.training.diffusion.records_base import base_params

        return base_params(self.settled())

    def _check_tasks(self, source: RecordSource) -> None:
        present: Mapping[str, str] = source.tasks
        for task in self.tasks():
            if task not in present:
                raise InputError(
                    f"rows has task {task!r}; the records of data.train are of {', '.join(present)}"
                )

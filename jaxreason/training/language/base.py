"""What all post-training of language models shares: their data files and their tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import jax

from jaxreason.data.language import DataConfig, MixedRecords, Records, read_records
from jaxreason.data.language.mixtures import check_kinds, mixture_names
from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.models.config import Remat
from jaxreason.tokens.pretrained_tokenizer import PretrainedTokenizer
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.files import claim, settle_config
from jaxreason.training.post_training import PostTraining
from jaxreason.training.pretrained import keep_tokenizer, tokenizer_of
from jaxreason.training.runs import Run


@dataclass(frozen=True)
class LanguagePostTraining(PostTraining):
    """Post-training of a language model on records; subclasses say what is learnt from them.

    Attributes:
        data: the records to learn from.
        mixed_with: further data sets to learn from, each in the share that its `weight` says beside
            that of `data`; see `data.language.MixedRecords`.
        mixing_temperature: of a mixture by size; see `data.language.mixtures.mixture_weights`.
        evaluation: records to evaluate on; without a path the last `held_out` ones of `data`,
            which are not trained on then.
        held_out: records that are evaluated on, the first ones of `evaluation`.
        tokenizer: folder of the tokenizer; "" for that of the base.
        template: "chat" lays turns out as the tokenizer's chat template does; "plain" writes
            prompt and answer one after the other, for models without a template.
        shown: completions written as text to completions/ of the run at every evaluation.
        remat: what the backward pass keeps; see `TransformerConfig`, as for `unroll`.
        unroll: layers that are compiled apart, which decodes faster; 0 leaves it to the model.

    The other fields are those of `PostTraining`.
    """

    data: DataConfig = field(default_factory=DataConfig)
    evaluation: DataConfig = field(default_factory=DataConfig)
    mixed_with: tuple[DataConfig, ...] = ()
    mixing_temperature: float = 1.0
    held_out: int = 200
    tokenizer: str = ""
    template: Literal["chat", "plain"] = "chat"
    shown: int = 4
    remat: Remat = "names"
    unroll: int = 0

    kinds: ClassVar[tuple[str, ...]] = ()
    """Of `data`, that can be learnt from."""
    templates: ClassVar[tuple[str, ...]] = ("chat", "plain")

    def __post_init__(self) -> None:
        super().__post_init__()
        named = [("data", self.data), ("evaluation", self.evaluation)]
        named += [(f"mixed_with[{n}]", config) for n, config in enumerate(self.mixed_with)]
        for name, config in named:
            if config.kind not in self.kinds:
                raise InputError(
                    f"{name}.kind is {config.kind!r}; expected {' or '.join(map(repr, self.kinds))}"
                )
        self._check_mixture()
        if self.template not in self.templates:
            raise InputError(
                f"template is {self.template!r}; expected {' or '.join(map(repr, self.templates))}"
            )
        if self.remat not in get_args(Remat):
            raise InputError(f"remat is {self.remat!r}; expected one of {get_args(Remat)}")
        for name, least in (("held_out", 1), ("shown", 0), ("unroll", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")

    def _check_mixture(self) -> None:
        check_kinds((self.data, *self.mixed_with))
        alone = {
            "mixing_temperature": self.mixing_temperature != 1,
            "data.weight": self.data.weight,
        }
        for name, given in alone.items():
            if given and not self.mixed_with:
                raise InputError(f"{name} is given, but mixed_with has no data set to mix with")
        if self.evaluation.weight:
            raise InputError(
                f"evaluation.weight is {self.evaluation.weight}; what is evaluated on is not mixed"
            )

    def load_base(self) -> Run:
        """The model to start from, with the numerics asked for; see `PostTraining`."""
        run = super().load_base()
        return run._replace(model=self._numerics(run.model))

    def base_shapes(self) -> Run:
        """The same with shapes for parameters; see `PostTraining`."""
        run = super().base_shapes()
        return run._replace(model=self._numerics(run.model))

    def _numerics(self, model: Transformer) -> Transformer:
        unroll = self.unroll or model.config.unroll
        return Transformer(replace(model.config, remat=self.remat, unroll=unroll))

    def records(self) -> tuple["Part | MixedRecords", "Part"]:
        """Records to train on, and to evaluate on.

        Raises:
            InputError: no data, a bad record, or too few of them.
            FailureError: a file cannot be read.
        """
        found = _opened("data", self.data)
        if _given(self.evaluation):
            other = _opened("evaluation", self.evaluation)
            whole = Part(found, 0, len(found))
            return self._mixed(whole), Part(other, 0, min(self.held_out, len(other)))
        kept = len(found) - self.held_out
        if kept < 1:
            raise InputError(
                f"data has {len(found)} records, of which held_out ({self.held_out}) are not to be "
                "trained on: none is left; lower held_out, or give evaluation.path"
            )
        return self._mixed(Part(found, 0, kept)), Part(found, kept, len(found))

    def _mixed(self, records: "Part") -> "Part | MixedRecords":
        """Those of `data` with those of `mixed_with`."""
        if not self.mixed_with:
            return records
        configs = (self.data, *self.mixed_with)
        others = [_opened(f"mixed_with[{n}]", config) for n, config in enumerate(self.mixed_with)]
        named = dict(zip(mixture_names(configs), [records, *others], strict=True))
        weights = [config.weight for config in configs]
        return MixedRecords(named, weights, self.mixing_temperature, self.train.seed)

    def open_tokenizer(self, model: Transformer) -> PretrainedTokenizer:
        """The tokenizer, which has no id that the model lacks.

        Raises:
            InputError: there is none, or it is another model's.
            FailureError: its files are damaged.
        """
        folder = self.tokenizer or self.base
        found = tokenizer_of(folder)
        if found is None:
            raise InputError(
                f"{'tokenizer' if self.tokenizer else 'base'} {folder} has no tokenizer.json; "
                "--tokenizer FOLDER names a folder that has"
            )
        size = model.config.vocabulary_size
        if found.size > size:
            raise InputError(
                f"the tokenizer of {folder} has {found.size} ids, the model of {self.base} only "
                f"{size}; expected its own tokenizer"
            )
        if not found.stops_for(self.template):
            raise InputError(f"the tokenizer of {folder} has no eos token, with which answers end")
        return found

    def begin(self, run: Path, config_json: Mapping[str, Any]) -> None:
        """Refuses a directory of another run, then keeps a copy of the tokenizer in it."""
        begun = bool(checkpoint_steps(run)) or (run / "damaged").exists()
        settle_config(run, config_json, begun=begun, write=False)
        if jax.process_index() == 0:
            with claim(run):
                pass
        keep_tokenizer(self.tokenizer or self.base, run, chat=self.template == "chat")


class Part(Sequence[Any]):
    """Some of the records of a data set, one after the other.

    Args:
        records: all of them.
        first: index of the first.
        last: index after the last.
    """

    def __init__(self, records: Records, first: int, last: int) -> None:
        self._records, self._first, self._last = records, first, last

    def __len__(self) -> int:
        return self._last - self._first

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._records[self._first + index % len(self)]

    @property
    def identity(self) -> dict[str, Any]:
        """Plain JSON that changes with the records."""
        return {**self._records.identity, "from": self._first, "to": self._last}


def _given(config: DataConfig) -> bool:
    return bool(config.path or config.tfds)


def _opened(name: str, config: DataConfig) -> Records:
    if not _given(config):
        raise InputError(f"{name}.path is ''; give a data file: --{name}.path FILE.jsonl")
    return read_records(config)

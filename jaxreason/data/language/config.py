"""Which data set is read, and what its rows are taken for."""

from dataclasses import dataclass, field

from jaxreason.errors import InputError

KINDS = ("text", "chat", "preference", "labelled", "prompts", "image_text")
CHECKS = ("all", "first")
FIELDS = (
    *("text", "messages", "conversations", "system", "prompt", "completion", "response"),
    *("instruction", "input", "output", "question", "problem", "solution", "answer"),
    *("chosen", "rejected", "label", "image", "caption"),
)
"""Names a column can be given by `DataConfig.columns`; they are also what columns are called."""


@dataclass(frozen=True)
class DataConfig:
    """A data set of records; several of them make a mixture.

    Attributes:
        path: a file: `.jsonl` or `.json` (a list of objects), either also with `.gz`, or
            `.parquet`; a folder, whose files of these kinds are read in the order of their names;
            or a pattern with `*`.
        tfds: instead of `path`, a data set of TensorFlow Datasets: its name, with `tfds_directory`,
            or the folder in which it was prepared as ArrayRecord.
        tfds_directory: where TFDS keeps prepared data sets; "" for its default.
        known: name of a provided data set (`jaxreason data list`) in whose published layout `path`
            is; it decides what the columns mean.
        kind: what a row is: "text", "chat", "preference", "labelled" (KTO), "prompts" (for
            reinforcement learning) or "image_text".
        split: of a TFDS data set; of files, those in whose name it stands as a word
            (`train-00000-of-00001.parquet`); "" for all files.
        columns: our name of a column to the data's name for it, where they differ; with them, only
            the way of writing that the named columns belong to is understood. An `answer` of ""
            says that prompts have no answers.
        system: a system message put before conversations that have none.
        suffix: text put after the last turn of the user, such as how to write the answer.
        answer_mark: what the final answer stands after in the column answer (`####` in GSM8K);
            "" if the column is the answer. For prompts alone.
        images: folder of the image files of relative names; "" for that of the data file.
        count: only the first so many records; 0 for all.
        weight: share of this data set in a mixture, relative to the others; 0 for one by its size.
        check: "all" reads every record once when the data are opened, so that a bad one is found
            before anything long begins; "first" the first thousand.

    Raises:
        InputError: a field outside its range.
    """

    path: str = ""
    tfds: str = ""
    tfds_directory: str = ""
    known: str = ""
    kind: str = "chat"
    split: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    system: str = ""
    suffix: str = ""
    answer_mark: str = ""
    images: str = ""
    count: int = 0
    weight: float = 0.0
    check: str = "all"

    def __post_init__(self) -> None:
        for name, choices in (("kind", KINDS), ("check", CHECKS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"data.{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}"
                )
        if self.path and self.tfds:
            raise InputError(
                f"data.path is {self.path!r} and data.tfds is {self.tfds!r}; expected one of them"
            )
        for column in self.columns:
            if column not in FIELDS:
                raise InputError(
                    f"data.columns has {column!r}; expected some of {', '.join(FIELDS)}"
                )
        for name in ("count", "weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"data.{name} is {value}; it must be at least 0 and finite")
        self._check_unused()

    def _check_unused(self) -> None:
        if self.answer_mark and self.kind != "prompts":
            raise InputError(
                f"data.answer_mark is {self.answer_mark!r}, but data.kind is {self.kind!r}; only "
                "'prompts' have answers to take out"
            )
        if self.images and self.kind != "image_text":
            raise InputError(
                f"data.images is {self.images!r}, but data.kind is {self.kind!r}, not 'image_text'"
            )
        if self.tfds_directory and not self.tfds:
            raise InputError(f"data.tfds_directory is {self.tfds_directory!r}, but data.tfds is ''")
        if self.kind == "text" and (self.system or self.suffix):
            name = "system" if self.system else "suffix"
            raise InputError(
                f"data.{name} is {getattr(self, name)!r}, but data.kind is 'text', which has no "
                "turns"
            )

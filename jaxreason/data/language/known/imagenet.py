"""ImageNet's folders of pictures, described by the names of their classes."""

import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.known.known_set import Row
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

_WORDS = ("synset_words.txt", "LOC_synset_mapping.txt", "words.txt")
_SYNSET = re.compile(r"n\d{8}")
_PICTURES = (".jpeg", ".jpg", ".png")
_LARGEST = 64 * 2**20


def caption(row: Row, kind: str, where: str) -> Row:
    """The first name of the class; all of them are in `names`."""
    return row


class ClassFolders:
    """Pictures in a folder for each class.

    Args:
        root: the folder of the classes.
        names: class to its names, "tench, Tinca tinca".
        prefix: of the pictures' names, which are relative to `DataConfig.path`.

    Raises:
        InputError: no such folder, or a class without a name.
    """

    def __init__(self, root: Path, names: Mapping[str, str], prefix: str = "") -> None:
        folders = sorted(p for p in root.iterdir() if _SYNSET.fullmatch(p.name) and p.is_dir())
        self._root, self._prefix = root, prefix
        self._synsets = [folder.name for folder in folders]
        for synset in self._synsets:
            if synset not in names:
                raise InputError(f"class {synset!r} of {str(root)!r} has no name in the word list")
        self._names = [names[synset] for synset in self._synsets]
        # A million names in one text take a third of the memory of as many texts.
        ends, self._files = array("q"), []
        for folder in folders:
            files = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _PICTURES)
            self._files.append("/".join(files))
            ends.append((ends[-1] if ends else 0) + len(files))
        self._ends = np.asarray(ends)
        self._split: tuple[int, list[str]] = (-1, [])

    @property
    def identity(self) -> Any:
        """Classes, their names and how many pictures they have."""
        return [self._synsets, self._names, self._ends.tolist()]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """`image`, `caption`, `synset` and `names`."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        place = index - (int(self._ends[number - 1]) if number else 0)
        held, files = self._split
        if held != number:
            files = self._files[number].split("/")
            self._split = number, files
        synset, names = self._synsets[number], self._names[number]
        first = names.split(",")[0].strip()
        image = f"{self._prefix}{synset}/{files[place]}"
        return {"image": image, "caption": first, "synset": synset, "names": names}

    def where(self, index: int) -> str:
        """The file."""
        return f"{self._root}/{self[index]['image'].removeprefix(self._prefix)}"


def imagenet_rows(config: DataConfig) -> ClassFolders:
    """Of a folder, or of its folder `split`.

    Raises:
        InputError: no folder of classes, or no word list.
    """
    if config.tfds or not config.path:
        raise InputError("data.path is ''; imagenet_captions are read from a folder of classes")
    root = as_path(config.path)
    if config.split:
        root = root / config.split
    if not root.is_dir():
        raise FailureError(f"data {str(root)!r} cannot be read: no such folder")
    for folder in (root, *list(root.parents)[:4]):
        for name in _WORDS:
            if (folder / name).is_file():
                prefix = f"{config.split}/" if config.split else ""
                return ClassFolders(root, _read_words(folder / name), prefix)
    raise InputError(f"data {str(root)!r} has none of {', '.join(_WORDS)}, nor a folder above it")


def _read_words(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: more than {_LARGEST // 2**20} MiB; expected a list of classes")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None
    words = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        synset, _, names = line.strip().partition("\t" if "\t" in line else " ")
        if not _SYNSET.fullmatch(synset) or not names.strip():
            raise InputError(
                f"{path}, line {number}: {line[:60]!r}; expected a class and its names, as "
                "'n01440764 tench, Tinca tinca'"
            )
        words[synset] = names.strip()
    return words

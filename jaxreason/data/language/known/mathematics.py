"""GSM8K, MATH and MATH-500."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreason.data.language.checked_json import check_value, parse
from jaxreason.data.language.config import DataConfig
from jaxreason.data.language.known.known_set import KnownSet, Row, need, others
from jaxreason.data.language.reading import open_rows
from jaxreason.data.language.rows import Rows
from jaxreason.errors import FailureError, InputError
from jaxreason.paths import as_path

_MARK = "####"
_LARGEST = 2**20


def gsm8k(row: Row, kind: str, where: str) -> Row:
    """Cobbe et al. 2021 (arXiv:2110.14168): the answer stands after `####`, without commas.

    Conversations keep the whole solution, its calculator annotations `<<...>>` included.
    """
    question, solution = (need(row, name, where, "GSM8K") for name in ("question", "answer"))
    reasoning, found, last = solution.rpartition(_MARK)
    if not found:
        raise InputError(f"{where}: answer has no {_MARK!r} before the number, as GSM8K's have")
    if kind == "chat":
        return {"question": question, "answer": solution}
    return {
        **others(row, "question", "answer"),
        "question": question,
        "answer": last.strip().replace(",", ""),
        "solution": reasoning.strip(),
    }


def math(row: Row, kind: str, where: str) -> Row:
    r"""Hendrycks et al. 2021 (arXiv:2103.03874): the answer is the last `\boxed` of the solution.

    MATH-500 has it in a column as well, which is taken then.
    """
    problem, solution = (need(row, name, where, "MATH") for name in ("problem", "solution"))
    if kind == "chat":
        return {"problem": problem, "solution": solution}
    answer = row.get("answer")
    if answer is None:
        answer = last_boxed(solution)
    if not isinstance(answer, str):
        raise InputError(rf"{where}: solution has no \boxed answer, as MATH's have")
    return {**others(row, "problem", "answer"), "problem": problem, "answer": answer}


def math500(row: Row, kind: str, where: str) -> Row:
    """The 500 problems of Lightman et al. 2023 (arXiv:2305.20050)."""
    need(row, "answer", where, "MATH-500")
    return math(row, kind, where)


def last_boxed(solution: str) -> str | None:
    r"""What the last `\boxed{...}`, `\fbox{...}` or `\boxed 5` of a text holds; None for none."""
    found = list(re.finditer(r"\\(?:boxed|fbox)\b", solution))
    if not found:
        return None
    rest = solution[found[-1].end() :]
    if not rest.lstrip().startswith("{"):
        # `\boxed 5` ends with the formula.
        return re.split(r"[$\n]", rest, maxsplit=1)[0].strip() or None
    depth = 0
    start = rest.index("{")
    for place in range(start, len(rest)):
        depth += {"{": 1, "}": -1}.get(rest[place], 0)
        if not depth:
            return rest[start + 1 : place].strip()
    return None


class FolderRows:
    """Files with one JSON object each, as MATH is published: SPLIT/SUBJECT/NUMBER.json.

    Args:
        paths: the files.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.identity = [[path.parent.name, path.name, path.stat().st_size] for path in paths]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The object of a file."""
        path = self._paths[index]
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise FailureError(f"data {str(path)!r} cannot be read: {error}") from error
        if len(content) > _LARGEST:
            raise InputError(f"{path}: more than {_LARGEST // 2**20} MiB; expected one problem")
        value = parse(content, str(path))
        if not isinstance(value, dict):
            raise InputError(f"{path}: {type(value).__name__} instead of an object")
        check_value(value, str(path))
        return value

    def where(self, index: int) -> str:
        """The file."""
        return str(self._paths[index])


def math_rows(config: DataConfig) -> Rows:
    """Of a folder with SUBJECT/NUMBER.json in it or in its folder `split`; else of files."""
    root = as_path(config.path) if config.path else None
    if root is None or not root.is_dir():
        return open_rows(config)
    top = root / config.split if config.split and (root / config.split).is_dir() else root
    paths = sorted(top.glob("*/*.json"), key=lambda path: (path.parent.name, _number(path)))
    if not paths:
        return open_rows(config)
    return FolderRows(paths)


def _number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else 0, path.stem)


GSM8K = KnownSet(
    name="gsm8k",
    title="grade-school word problems with worked solutions (arXiv:2110.14168)",
    kinds=("prompts", "chat"),
    size="7,473 train, 1,319 test",
    source="github openai/grade-school-math; on the hub openai/gsm8k (main)",
    licence="MIT",
    disk="5 MB",
    layout="train.jsonl or test.jsonl, or the folder of main/*.parquet with split train or test",
    adapt=gsm8k,
)

MATH = KnownSet(
    name="math",
    title="competition problems with worked solutions (arXiv:2103.03874)",
    kinds=("prompts", "chat"),
    size="7,500 train, 5,000 test",
    source="github hendrycks/math; on the hub nlile/hendrycks-MATH-benchmark (12,000 + 500)",
    licence="MIT",
    disk="10 MB; as single files about 60 MB",
    layout="the folder MATH with split train or test, or parquet or jsonl with problem, solution",
    adapt=math,
    rows=math_rows,
)

MATH500 = KnownSet(
    name="math500",
    title="500 problems of MATH's test split (arXiv:2305.20050)",
    kinds=("prompts", "chat"),
    size="500 test",
    source="on the hub HuggingFaceH4/MATH-500; from github openai/prm800k",
    licence="MIT (of prm800k)",
    disk="less than 1 MB",
    layout="test.jsonl",
    adapt=math500,
)

"""A benchmark on a model: questions asked, answers judged and kept as they come."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

from jaxreason.errors import FailureError, InputError
from jaxreason.evaluation.benchmarks.asking import Asked, ask
from jaxreason.evaluation.benchmarks.judging import judged_answers, summarise
from jaxreason.evaluation.benchmarks.prompts import PROMPTS
from jaxreason.evaluation.benchmarks.questions import Question, Questions, read_questions
from jaxreason.evaluation.benchmarks.results import AnswerFiles, read_object
from jaxreason.evaluation.benchmarks.scoring import score
from jaxreason.evaluation.benchmarks.settings import Setting
from jaxreason.evaluation.environment import environment
from jaxreason.evaluation.harness import HarnessModel, HarnessSettings, load_harness
from jaxreason.evaluation.harness_diffusion_text import DiffusionSettings
from jaxreason.evaluation.identity import digest, model_identity
from jaxreason.paths import as_path
from jaxreason.sharding.mesh import MeshConfig, make_mesh

OnProgress = Callable[[str, int, int], None]
GROUP = 8
"""Batches that are answered together: texts of one length share a batch, and then are kept."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is asked of a model.

    Attributes:
        setting: which benchmark and how.
        data: its file or folder.
        examples: file or folder of solved examples, where the setting takes them from one.
        split: of folders, the word that names of data files must have.
        changed: fields of the setting that are not as published.
        limit: only the first so many questions; 0 for all.
        batch_size: rows of a batch.
        seed: of sampling, and of a diffusion model's masks.
        draws: masks per choice, of diffusion models.
        max_length: tokens that the model sees; None: what its config.json says.
        thinking: given to the chat template as `enable_thinking`; None: not given.

    Raises:
        InputError: a number out of range; examples missing or of no use.
    """

    setting: Setting
    data: str
    examples: str = ""
    split: str = ""
    changed: tuple[str, ...] = ()
    limit: int = 0
    batch_size: int = 8
    seed: int = 0
    draws: int = 128
    max_length: int | None = None
    thinking: bool | None = None

    def __post_init__(self) -> None:
        for name, least in (("limit", 0), ("batch_size", 1), ("draws", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least {least}")
        setting = self.setting
        words = f"{setting.benchmark}/{setting.name}"
        if setting.needs_examples and not self.examples:
            raise InputError(
                f"{words} shows {setting.shots} solved examples before each question; give the "
                "file that they come from by --examples (GSM8K's train split, MMLU's dev split)"
            )
        if self.examples and not setting.needs_examples:
            raise InputError(f"examples is {self.examples!r}, but {words} takes none from a file")
        if self.thinking is not None and not PROMPTS[setting.prompt].chat:
            raise InputError(
                f"thinking is {self.thinking}, but {words} does not use the chat template, which "
                "alone knows of it"
            )


def run_benchmark(
    path: str | Path,
    request: BenchmarkRequest,
    *,
    out: str | Path | None = None,
    name: str | None = None,
    step: int | None = None,
    tokenizer: str | Path | None = None,
    fsdp: int = 0,
    restart: bool = False,
    on_progress: OnProgress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Runs a benchmark, or goes on with one that was stopped.

    Args:
        path: run directory or published folder.
        request: what is asked.
        out: folder of the results; `evaluation` in the run directory by default.
        name: of the two files; BENCHMARK-SETTING by default.
        step: which checkpoint of a run.
        tokenizer: folder of the tokenizer, where the run has none.
        fsdp: devices to spread the model over, -1 for all; 0 takes the first one.
        restart: answer again what is answered.
        on_progress: called with a word, questions done and questions in all.

    Returns:
        The document (see `results`), and its path.

    Raises:
        InputError: settings that do not fit the model, its data, or answers that are there.
        FailureError: a file cannot be read or written.
    """
    if name is not None and not re.fullmatch(r"[\w.-]*\w", name):
        raise InputError(f"name is {name!r}; expected letters, digits, '.', '_' and '-'")
    started, tell = time.perf_counter(), on_progress or (lambda *_: None)
    setting, folder = request.setting, results_folder(path, out)
    data = read_questions(setting.benchmark, request.data, request.split)
    examples = Questions((), "")
    if request.examples:
        examples = read_questions(setting.benchmark, request.examples)
    for metric in setting.metrics if setting.generates else ():
        score(metric, ["0"], ["#### 0"])  # its library may be missing
    model = load_model(path, request, step=step, tokenizer=tokenizer, fsdp=fsdp)
    questions = data.questions[: request.limit or None]
    # All of them, whatever the limit is, so that it may be raised later.
    every = ask(setting, data.questions, examples.questions, model.render)
    asked = every[: len(questions)]
    identity = {"data": data.digest, "examples": examples.digest}
    identity |= _identity(path, request, model, every, out is None)
    files = AnswerFiles(folder, name or f"{setting.benchmark}-{setting.name}", identity)
    more = {
        "available": len(data.questions),
        "estimate": "evidence bound" if identity["draws"] else "exact",
        "prompt": asked[0].context,
    }
    answers = _answer_all(model, request, questions, asked, files, more, restart, tell)
    document = summarise(setting, identity, answers, True) | more
    document |= {"environment": environment(), "seconds": time.perf_counter() - started}
    return document, files.write(document)


def _identity(
    path: str | Path,
    request: BenchmarkRequest,
    model: HarnessModel,
    asked: Sequence[Asked],
    inside: bool,
) -> dict[str, Any]:
    """What answers depend on; `inside` says that they lie in the run directory itself."""
    setting, where = request.setting, as_path(path).resolve()
    return {
        "benchmark": setting.benchmark,
        "settings": asdict(setting),
        "changed": list(request.changed),
        "run": where.name if inside else str(where),  # a run directory may be moved
        **model_identity(model.run),
        "tokenizer": model.tokenizer.identity,
        "max_length": model.rules.max_length,
        "thinking": request.thinking,
        "prompts": digest(asked),
        "seed": request.seed,
        # Sampled answers depend on where their group begins.
        "group": GROUP * request.batch_size if setting.temperature else 0,
        "draws": request.draws if model.diffusion and not setting.generates else 0,
    }


def _answer_all(
    model: HarnessModel,
    request: BenchmarkRequest,
    questions: Sequence[Question],
    asked: Sequence[Asked],
    files: AnswerFiles,
    more: dict[str, Any],
    restart: bool,
    tell: OnProgress,
) -> list[dict[str, Any]]:
    """The answers to all questions: those in the files, and the others as they come."""
    setting, group = request.setting, GROUP * request.batch_size
    answers = files.resume(restart, files.identity["group"] or 1)
    files.write(summarise(setting, files.identity, answers, False) | more)
    while len(answers) < len(questions):
        tell(setting.benchmark, len(answers), len(questions))
        chosen = slice(len(answers), len(answers) + group)
        found = judged_answers(
            model, setting, questions[chosen], asked[chosen], len(answers), request.seed
        )
        files.add(found, answers)
        answers += found
    tell(setting.benchmark, len(questions), len(questions))
    return answers[: len(questions)]


def results_folder(path: str | Path, out: str | Path | None) -> Path:
    """Where results go: `out`, else into the run directory.

    Raises:
        InputError: weights as they were published, and no `out`.
        FailureError: there is no model.
    """
    config = as_path(path) / "config.json"
    if not config.is_file():
        raise FailureError(f"{path} is no run or model folder: it has no config.json")
    if out is None and "model_type" in read_object(config):
        raise InputError(
            f"{path} holds published weights, beside which no results are put; give a folder for "
            "them by --out"
        )
    return as_path(path) / "evaluation" if out is None else as_path(out)


def load_model(
    path: str | Path,
    request: BenchmarkRequest,
    *,
    step: int | None = None,
    tokenizer: str | Path | None = None,
    fsdp: int = 0,
) -> HarnessModel:
    """The model, ready to be asked in this way.

    Raises:
        InputError: as `load_harness`; the setting has no word for diffusion models.
    """
    setting = request.setting
    diffusion = DiffusionSettings(
        draws=request.draws,
        check_greedy=False,
        block=setting.block or 1,
        tokens_per_step=setting.tokens_per_step,
    )
    settings = HarnessSettings(
        batch_size=request.batch_size,
        max_length=request.max_length,
        enable_thinking=request.thinking,
        seed=request.seed,
        diffusion=diffusion,
    )
    devices = jax.devices()[:fsdp] if fsdp > 0 else None
    mesh = make_mesh(MeshConfig(fsdp=fsdp), devices) if fsdp else None
    model = load_harness(path, settings, step=step, tokenizer=tokenizer, mesh=mesh)
    if model.diffusion and setting.generates and not setting.block:
        raise InputError(
            f"{setting.benchmark}/{setting.name} does not say how a diffusion model decodes; give "
            "--block and --steps, or other settings (`jaxreason benchmark list`)"
        )
    return model

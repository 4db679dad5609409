"""The published settings of each benchmark, in one table: `SETTINGS`."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jaxreason.errors import InputError

Pick = Literal["none", "first", "drawn", "wei8", "minerva4", "complex4", "truthfulqa6"]

BENCHMARKS: Mapping[str, str] = {
    "gsm8k": "grade-school word problems (Cobbe et al. 2021, arXiv 2110.14168)",
    "math500": "500 problems of MATH (Hendrycks et al. 2021, arXiv 2103.03874; Lightman et al. "
    "2023, arXiv 2305.20050)",
    "mmlu": "57 subjects, four choices (Hendrycks et al. 2020, arXiv 2009.03300)",
    "arc_challenge": "grade-school science, choices (Clark et al. 2018, arXiv 1803.05457)",
    "truthfulqa_mc1": "questions that many answer wrongly, choices (Lin et al. 2021, arXiv "
    "2109.07958)",
}

_HARNESS = "github.com/EleutherAI/lm-evaluation-harness, task "
_LLADA = "github.com/ML-GSAI/LLaDA"
_QWEN = "github.com/QwenLM/Qwen2.5-Math, evaluation/, prompt qwen25-math-cot"
_D1 = "github.com/dllm-reasoning/d1, eval/"
_MMADA = "Yang et al. 2025 (arXiv 2505.15809), section 3"


@dataclass(frozen=True)
class Setting:
    """How a benchmark is run.

    Attributes:
        benchmark: key of `BENCHMARKS`.
        name: of the setting.
        prompt: key of `prompts.PROMPTS`.
        shots: solved examples before the question.
        pick: where they come from: "first" of the examples file (of the question's subject, where
            it has one), "drawn" from it as lm-evaluation-harness draws them with its seed 1234, or
            the name of fixed ones.
        metrics: rules of `scoring.RULES`, or "acc" and "acc_norm" for choices whose probabilities
            are compared; the first is the headline.
        new_tokens: longest answer; 0 where none is generated.
        temperature: 0 takes the most likely token.
        until: texts that end an answer, besides the model's own end tokens.
        block: of diffusion models, tokens decoded together; 0: the setting has no word for them.
        steps: of diffusion models, for the whole answer.
        source: where all this was published.

    Raises:
        InputError: a number out of range, or steps that do not fit the lengths.
    """

    benchmark: str
    name: str
    prompt: str
    shots: int
    pick: Pick
    metrics: tuple[str, ...]
    source: str
    new_tokens: int = 0
    temperature: float = 0.0
    until: tuple[str, ...] = field(default=())
    block: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        for name in ("shots", "new_tokens", "temperature", "block", "steps"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 0")
        if not self.block and not self.steps:
            return
        if not self.block or not self.steps:
            raise InputError(
                f"block is {self.block} and steps {self.steps}; diffusion needs both of them"
            )
        if self.new_tokens % self.block or self.new_tokens % self.steps:
            raise InputError(
                f"new_tokens is {self.new_tokens}; expected a multiple of block ({self.block}) "
                f"and of steps ({self.steps})"
            )
        if self.block % self.tokens_per_step:
            raise InputError(
                f"steps {self.steps} reveal {self.tokens_per_step} tokens each, which does not "
                f"divide block ({self.block})"
            )

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer; else it compares the choices."""
        return self.metrics[0] not in ("acc", "acc_norm")

    @property
    def tokens_per_step(self) -> int:
        """Of a diffusion model; 1 where the setting has no word for them."""
        return self.new_tokens // self.steps if self.steps else 1

    @property
    def needs_examples(self) -> bool:
        """Whether solved examples come from a file."""
        return self.shots > 0 and self.pick in ("first", "drawn")

    def with_changes(self, **changes: Any) -> "Setting":
        """The setting with other values for what is not None.

        Raises:
            InputError: a value out of range, or of something that the setting does not have.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        for name in ("new_tokens", "temperature", "block", "steps"):
            if name in given and not self.generates:
                raise InputError(
                    f"{name} is {given[name]}, and {self.benchmark}/{self.name} compares choices: "
                    "nothing is generated"
                )
        if given.get("new_tokens") == 0:
            raise InputError("new_tokens is 0; expected at least 1")
        if "new_tokens" in given and self.steps and not {"block", "steps"} & given.keys():
            raise InputError(
                f"new_tokens is {given['new_tokens']}; give block and steps as well, which "
                f"{self.benchmark}/{self.name} has for {self.new_tokens} tokens"
            )
        most = None if self.pick in ("first", "drawn") else self.shots
        if most is not None and given.get("shots", 0) > most:
            raise InputError(
                f"shots is {given['shots']}; {self.benchmark}/{self.name} has {most} of its own"
            )
        return replace(self, **given)


_ENDS = ("</s>", "<|im_end|>")
_GSM8K = Setting(
    "gsm8k",
    "lm-eval",
    "question-answer",
    5,
    "drawn",
    ("strict-match", "flexible-extract"),
    _HARNESS + "gsm8k, version 3",
    new_tokens=256,
    until=("Question:", *_ENDS),
)
_MINERVA = Setting(
    "math500",
    "lm-eval",
    "problem-solution",
    4,
    "minerva4",
    ("math-verify",),
    _HARNESS + "minerva_math500, version 3.1",
    new_tokens=256,
    until=("Problem:",),
)

SETTINGS: tuple[Setting, ...] = (
    _GSM8K,
    replace(
        _GSM8K,
        name="cot",
        prompt="q-a",
        shots=8,
        pick="wei8",
        metrics=("strict-cot", "flexible-extract"),
        until=("Q:", *_ENDS),
        source=_HARNESS + "gsm8k_cot, version 3; prompt of Wei et al. 2022 (arXiv 2201.11903)",
    ),
    Setting(
        *("gsm8k", "qwen-math", "boxed", 0, "none", ("math-verify",)),
        _QWEN + "; answers compared by math-verify instead",
        new_tokens=2048,
    ),
    replace(
        _GSM8K,
        name="mmada",
        block=64,
        steps=256,
        source="github.com/Gen-Verse/MMaDA, evaluation/lm/eval.sh",
    ),
    replace(
        _GSM8K,
        name="mmada-paper",
        new_tokens=1024,
        block=64,
        steps=512,
        source=_MMADA + "; prompt of its repository, evaluation/lm/eval.sh",
    ),
    replace(
        _GSM8K,
        name="llada-base",
        new_tokens=1024,
        block=1024,
        steps=1024,
        source=_LLADA + ", eval_llada_lm_eval.sh",
    ),
    Setting(
        *("gsm8k", "llada-instruct", "step-by-step", 4, "complex4", ("last-number", "math-verify")),
        _LLADA + ", EVAL.md, and OpenCompass, gsm8k_gen_1d7fe4",
        new_tokens=256,
        block=8,
        steps=256,
    ),
    Setting(
        *("gsm8k", "d1", "tags", 0, "none", ("math-verify",)),
        _D1 + "gsm8k.py (Zhao et al. 2025, arXiv 2504.12216); answers compared by math-verify "
        "instead",
        new_tokens=256,
        block=32,
        steps=128,
    ),
    _MINERVA,
    Setting(
        *("math500", "qwen-math", "boxed", 0, "none", ("math-verify",)),
        _QWEN + "; answers compared by math-verify instead",
        new_tokens=2048,
    ),
    replace(
        _MINERVA,
        name="llada-base",
        new_tokens=1024,
        block=1024,
        steps=1024,
        source=_LLADA + ", eval_llada_lm_eval.sh",
    ),
    Setting(
        *("math500", "llada-instruct", "boxed-below", 0, "none", ("math-verify",)),
        _LLADA + ", EVAL.md, and OpenCompass, math_0shot_gen_11c4b5; answers compared by "
        "math-verify instead",
        new_tokens=512,
        block=64,
        steps=512,
    ),
    Setting(
        *("math500", "d1", "tags-math", 0, "none", ("math-verify",)),
        _D1 + "math500.py (Zhao et al. 2025, arXiv 2504.12216); answers compared by math-verify "
        "instead",
        new_tokens=256,
        block=32,
        steps=128,
    ),
    Setting(
        *("mmlu", "lm-eval", "letters", 5, "first", ("acc",)),
        _HARNESS + "mmlu, version 2",
    ),
    Setting(
        *("mmlu", "llada-instruct", "single-choice", 5, "first", ("letter",)),
        _LLADA + ", EVAL.md, and OpenCompass, mmlu_gen_a484b3",
        new_tokens=3,
        block=3,
        steps=3,
    ),
    Setting(
        *("arc_challenge", "lm-eval", "question-answer", 0, "first", ("acc", "acc_norm")),
        _HARNESS + "arc_challenge, version 1",
    ),
    Setting(
        *("truthfulqa_mc1", "lm-eval", "q-a", 6, "truthfulqa6", ("acc",)),
        _HARNESS + "truthfulqa_mc1, version 2",
    ),
)
"""Every benchmark with every setting; the first of a benchmark is its default."""


def find_setting(benchmark: str, name: str | None = None) -> Setting:
    """A setting by name, by default the first of the benchmark.

    Raises:
        InputError: an unknown benchmark or setting.
    """
    if benchmark not in BENCHMARKS:
        raise _unknown("benchmark", benchmark, list(BENCHMARKS))
    found = {s.name: s for s in SETTINGS if s.benchmark == benchmark}
    if name is None:
        return next(iter(found.values()))
    if name not in found:
        raise _unknown(f"settings of {benchmark}", name, list(found))
    return found[name]


def _unknown(what: str, name: str, known: list[str]) -> InputError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; expected one of {', '.join(known)}"
    return InputError(f"{what} {name!r} is unknown{hint}")

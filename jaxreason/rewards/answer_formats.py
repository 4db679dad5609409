"""The form of an answer, and where in a text the answer stands.

Three families of prompts are known: `<think> reasoning </think> answer` (DeepSeek-R1, MMaDA),
`<reasoning>` and `<answer>` tags (d1; DeepSeek-R1 has `<answer>` after `<think>`), and
`\\boxed{answer}` (MATH, Qwen2.5-Math).
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxreason.errors import InputError
from jaxreason.rewards import reasoning
from jaxreason.rewards.reward import Reward
from jaxreason.tokens.chat import END_THINK, THINK, parse_reasoning

BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
THINK_ANSWER = re.compile(
    r"\s*<think>(?:(?!</?think>|</?answer>).)*</think>\s*"
    r"<answer>(?:(?!</?think>|</?answer>).)*</answer>\s*",
    re.DOTALL,
)


def last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{}` whose braces are balanced; None without one."""
    for found in reversed(list(BOX.finditer(text))):
        depth, escaped = 1, False
        for place in range(found.end(), len(text)):
            character = text[place]
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == "{":
                depth += 1
            elif character == "}":
                depth -= 1
                if not depth:
                    return text[found.end() : place].strip()
    return None


def after_reasoning(text: str) -> str | None:
    """What follows the last `</think>`, the whole text without tags; None if reasoning never ends.

    Templates that open `<think>` in the prompt leave a completion with the closing tag alone.
    """
    _, closed, after = text.rpartition(END_THINK)
    if closed:
        return after
    return None if THINK in text else after


def has_box(text: str) -> bool:
    """There is an answer in a balanced box, after the reasoning."""
    return bool(last_boxed(after_reasoning(text) or ""))


FORMS: Mapping[str, Callable[[str], float]] = {
    "think_strict": lambda text: parse_reasoning(text).strict,
    "think_soft": lambda text: parse_reasoning(text).soft,
    "think_answer": lambda text: THINK_ANSWER.fullmatch(text) is not None,
    "boxed": has_box,
    "tags_strict": lambda text: reasoning.strict_format(text) > 0,
    "tags_soft": lambda text: reasoning.soft_format(text) > 0,
    "tag_count": reasoning.tag_counting,
    "integer": lambda text: reasoning.integer_answer(text) > 0,
}
"""Form to what a text has of it, 1 or 0; `tag_count` runs from 0.5 down, as d1's reward does.

`think_strict` is MMaDA's form, nothing before or besides; `think_soft` has the tags in order
somewhere; `think_answer` is `<think> </think> <answer> </answer>` and nothing else; `tags_strict`,
`tags_soft`, `tag_count` and `integer` are d1's, see `jaxreason.rewards.reasoning`.
"""


def format_reward(texts: Sequence[str], weights: Mapping[str, float] | None = None) -> Reward:
    """The weighted sum of the forms that texts have; the breakdown holds all `FORMS`.

    Args:
        texts: completions as text.
        weights: form to what it earns; by default MMaDA's, 0.5 for `think_strict`.

    Raises:
        InputError: an unknown form, or a weight that is no finite number.
    """
    weights = {"think_strict": 0.5} if weights is None else weights
    check_weights(weights, FORMS)
    return weighted(weights, form_breakdown(texts))


def form_breakdown(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Every form of every text, [batch] float32 each."""
    return {
        name: np.array([float(form(text)) for text in texts], np.float32)
        for name, form in FORMS.items()
    }


def weighted(weights: Mapping[str, float], breakdown: Mapping[str, np.ndarray]) -> Reward:
    """The reward that weights make of a breakdown."""
    total = np.sum([weight * breakdown[name] for name, weight in weights.items()], axis=0)
    return Reward(total.astype(np.float32), breakdown)


def check_weights(weights: Mapping[str, float], known: Mapping[str, object]) -> None:
    """Refuse weights of unknown names.

    Raises:
        InputError: names the first of them, or says that there are none.
    """
    if not weights:
        raise InputError(f"weights is empty; expected some of {', '.join(known)}")
    for name, weight in weights.items():
        if name not in known:
            raise InputError(f"weights has {name!r}; expected some of {', '.join(known)}")
        if not np.isfinite(weight):
            raise InputError(f"weights has {weight} for {name}; expected a finite number")

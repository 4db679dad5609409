"""Rewards of texts with reasoning, by their form and their answer.

Each function takes one text. `<think> reasoning </think> answer` is MMaDA's form (Yang et al. 2025,
arXiv 2505.15809, section 2.3.2: 2.0 for a correct answer, 0.5 for the form); `<reasoning>` and
`<answer>` tags are those of d1 (Zhao et al. 2025, arXiv 2504.12216;
github.com/dllm-reasoning/d1, diffu-grpo/reward_func.py, after W. Brown's GRPO demo).
"""

import re

from jaxreason.countdown import Problem, judge
from jaxreason.tokens.chat import parse_reasoning


def think_format(text: str) -> float:
    """0.5 for `<think> reasoning </think> answer` and nothing else."""
    return 0.5 * parse_reasoning(text).strict


def think_answer(text: str) -> str:
    """What follows the reasoning; the whole text without any."""
    return parse_reasoning(text).answer


def tagged_answer(text: str) -> str:
    """What stands between the last `<answer>` and the `</answer>` after it, stripped."""
    return text.rpartition("<answer>")[2].partition("</answer>")[0].strip()


def correctness(answer: str, expected: str) -> float:
    """2.0 for the expected answer, to the letter."""
    return 2.0 * (answer == expected)


def integer_answer(text: str) -> float:
    """0.5 if the tagged answer is digits alone."""
    return 0.5 * tagged_answer(text).isdigit()


_INSIDE = r"(?:(?!</?(?:reasoning|answer)>).)*?"
_STRICT = re.compile(
    rf"<reasoning>\n{_INSIDE}\n</reasoning>\n<answer>\n{_INSIDE}\n</answer>\n$", re.DOTALL
)
_SOFT = re.compile(r"<reasoning>.*?</reasoning>\s*<answer>.*?</answer>", re.DOTALL)


def strict_format(text: str) -> float:
    """0.5 if the text is both tagged parts and nothing else, every tag on a line of its own.

    d1's pattern has the same tags but lets no part be longer than a line (its `.` is no line
    break), so that hardly any real reasoning earns this. Here parts may have many lines, and no
    further tag may stand in them.
    """
    return 0.5 * (_STRICT.match(text) is not None)


def soft_format(text: str) -> float:
    """0.5 if the text begins with both tagged parts, whatever follows.

    As for `strict_format` they may have many lines, unlike d1's.
    """
    return 0.5 * (_SOFT.match(text) is not None)


def tag_counting(text: str) -> float:
    """0.125 for each of the four tags that occurs exactly once with its line breaks, less 0.001 for
    every character after the end: charged twice, as each tag of the answer takes it off.
    """
    value = 0.125 * (text.count("<reasoning>\n") == 1)
    value += 0.125 * (text.count("\n</reasoning>\n") == 1)
    if text.count("\n<answer>\n") == 1:
        value += 0.125 - 0.001 * len(text.split("\n</answer>\n")[-1])
    if text.count("\n</answer>") == 1:
        value += 0.125 - 0.001 * (len(text.split("\n</answer>")[-1]) - 1)
    return value


def countdown_answer(text: str, problem: Problem) -> float:
    """1 for a tagged equation that makes the target of all numbers, 0.1 for any other, 0 for none.

    The equation is judged by `jaxreason.countdown`, never evaluated as code.
    """
    found = re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL)
    if not found:
        return 0.0
    words = re.findall(r"\d+|[^\s\d]", found[-1])
    return 1.0 if judge(problem, ["answer", *words, "end"]).valid else 0.1

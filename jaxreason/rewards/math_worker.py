"""Compares mathematical answers in a process of its own; started by file, never imported.

Reads JSON lines `[gold, answer, seconds]` and writes `[correct, answered, undecided]` for each.
SymPy can compute for ever or take all memory on a short text such as `10^{10^{10}}`: here an alarm
and a limit of memory end that, and whoever started this process ends the process when they do not.
It imports nothing of the package, so that it starts within a second and holds no accelerator.
"""

import json
import os
import re
import signal
import sys
from functools import lru_cache
from typing import Any

MEMORY = 2 << 30
"""Bytes of address space that the process may take."""

WORDS = re.compile(r"[^\W\d_]{2,}(?:[ -][^\W\d_]+)*")


class OutOfTimeError(BaseException):
    """Raised by the alarm; no `except Exception` on the way may swallow it."""


def main() -> None:
    """Answer until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    # What libraries print must not be read as a reply.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    limit_memory()
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    latex = [LatexExtractionConfig(boxed_match_priority=0)]
    either = [*latex, ExprExtractionConfig()]

    @lru_cache(maxsize=65536)
    def gold_values(gold: str) -> list[Any]:
        return parse(rf"\boxed{{{gold}}}", latex, parsing_timeout=None)

    def compare(gold: str, answer: str) -> tuple[bool, bool]:
        found = parse(answer, either, parsing_timeout=None)
        if not found:
            return False, False
        if WORDS.fullmatch(gold):
            # As formulas, words are products of letters, and anagrams would be equal.
            return spelled(str(found[-1])) == spelled(gold), True
        return bool(verify(gold_values(gold), found, timeout_seconds=None)), True

    replies.write("ready\n")
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        replies.write(json.dumps(limited(compare, gold, answer, seconds)) + "\n")


def limited(compare: Any, gold: str, answer: str, seconds: float) -> list[bool]:
    """The verdict, within the time where alarms reach."""
    alarms = hasattr(signal, "setitimer")
    try:
        if alarms:
            signal.signal(signal.SIGALRM, out_of_time)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        correct, answered = compare(gold, answer)
        return [correct, answered, False]
    except (OutOfTimeError, MemoryError, RecursionError, OverflowError):
        return [False, True, True]
    except Exception:
        # What the parser makes of a model's text is no reason to stop: it is no answer.
        return [False, False, True]
    finally:
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0)


def out_of_time(*_: Any) -> None:
    """The alarm."""
    raise OutOfTimeError


def limit_memory() -> None:
    """Where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        return


def spelled(text: str) -> str:
    """A word without its LaTeX and case."""
    inner = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    return " ".join(re.sub(r"[\\$.]", "", inner).casefold().split())


if __name__ == "__main__":
    main()

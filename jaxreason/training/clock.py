"""Where the wall time goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PARTS = (
    *("compile", "data", "sampling", "reward", "scoring", "step"),
    *("checkpoint", "evaluation", "other"),
)


class Clock:
    """Splits the time since it was made into `PARTS`; the parts sum to the whole.

    Whatever no `measure` covers is `other`. `step` is the time the host spends dispatching steps
    and waiting for them, so data loading that hides behind the device costs nothing here. RL spends
    time on `sampling` completions, on their `reward`, and on `scoring` them (log-probabilities,
    values, advantages). `parts` are those under way, outermost first; `notice`, if set, is called
    with each that begins.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._inner = 0.0
        self.parts: tuple[str, ...] = ()
        self.notice: Callable[[str], None] | None = None

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Count the time inside as `part`; a measure within a measure counts as its own only."""
        outer, self._inner = self._inner, 0.0
        around, self.parts = self.parts, (*self.parts, part)
        if self.notice is not None:
            self.notice(part)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._seconds[part] += spent - self._inner
            self._inner = outer + spent
            self.parts = around

    def seconds(self) -> dict[str, float]:
        """Seconds by part up to now, and `wall`, their sum."""
        wall = time.perf_counter() - self._start
        known = {part: self._seconds[part] for part in PARTS if part != "other"}
        return {**known, "other": wall - sum(known.values()), "wall": wall}

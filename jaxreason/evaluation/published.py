"""Numbers of the paper, as far as they are known here, each with how certain it is.

Stechly, Valmeekam, Gundawar, Palod, Kambhampati 2025, *Beyond Semantics: The Unreasonable
Effectiveness of Reasonless Intermediate Tokens* (arXiv 2505.13775). None of them was checked
against the paper's own tables, so none is ever printed without its mark.
"""

from typing import Literal, NamedTuple

Certainty = Literal["summary", "recalled"]

MARKS: dict[Certainty, str] = {"summary": "‡", "recalled": "?"}

EXPLANATIONS: dict[Certainty, str] = {
    "summary": "from a published summary of the paper, not checked against its tables",
    "recalled": "recalled from memory, unverified",
}

PAPER_SIDE = 30
"""The paper's mazes have 30x30 cells; its numbers say nothing about other sizes."""


class Published(NamedTuple):
    """One number.

    Attributes:
        version: of the arXiv paper, "v1" (also v2) or "v3"; the set-ups differ.
        trained_on: generator of the training data.
        test: generator of the test problems.
        regime: "correct" or "swapped".
        metric: "plan_valid" or "trace_valid" (level reference), per cent.
        value: per cent.
        certainty: key of `MARKS` and `EXPLANATIONS`.
    """

    version: str
    trained_on: str
    test: str
    regime: str
    metric: str
    value: float
    certainty: Certainty

    def text(self) -> str:
        """The number with its mark, such as `50.1 ‡`."""
        return f"{self.value:.1f} {MARKS[self.certainty]}"


def _first_version() -> list[Published]:
    # test set: correct plan, certainty, correct trace, swapped plan
    rows: list[tuple[str, float, Certainty, float, float]] = [
        ("wilson", 50.1, "summary", 95.2, 51.6),
        ("kruskal", 49.7, "recalled", 96.2, 51.9),
        ("dfs", 30.8, "recalled", 82.1, 41.7),
        ("drunkards_walk", 2.5, "summary", 4.0, 26.0),
        ("searchformer", 0.0, "recalled", 0.0, 0.2),
    ]
    numbers = []
    for test, correct, certainty, trace, swapped in rows:
        for regime, metric, value, how in (
            ("correct", "plan_valid", correct, certainty),
            ("swapped", "plan_valid", swapped, certainty),
            ("correct", "trace_valid", trace, "recalled"),
            ("swapped", "trace_valid", 0.0, certainty),
        ):
            numbers.append(Published("v1", "wilson", test, regime, metric, value, how))
    return numbers


def _third_version() -> list[Published]:
    rows = [
        ("wilson", "wilson", 79.9, 83.3),
        ("wilson", "drunkards_walk", 0.0, 11.7),
        ("searchformer", "drunkards_walk", 62.1, 95.4),
        ("searchformer", "searchformer", 56.2, 89.1),
    ]
    return [
        Published("v3", trained_on, test, regime, "plan_valid", value, "summary")
        for trained_on, test, correct, swapped in rows
        for regime, value in (("correct", correct), ("swapped", swapped))
    ]


PUBLISHED: tuple[Published, ...] = (*_first_version(), *_third_version())


def published(
    trained_on: str, test: str, regime: str, metric: str, width: int, height: int
) -> list[Published]:
    """The paper's numbers for this cell of its tables; none for other sizes than its own."""
    if (width, height) != (PAPER_SIDE, PAPER_SIDE):
        return []
    return [
        number
        for number in PUBLISHED
        if (number.trained_on, number.test, number.regime, number.metric)
        == (trained_on, test, regime, metric)
    ]

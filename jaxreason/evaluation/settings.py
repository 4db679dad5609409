"""What an evaluation measures, and the problems it measures it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxreason.errors import InputError
from jaxreason.evaluation.judge import trace_length
from jaxreason.mazes import GENERATORS, SPLITS, MazeConfig, Problem, Trace, generate_solved_batch

Solved = tuple[Problem, Trace]


@dataclass(frozen=True)
class EvaluationSettings:
    """What to measure.

    Attributes:
        generators: test sets; each a name in `GENERATORS`.
        count: problems per generator.
        temperatures: 0 is greedy.
        samples: completions per problem at temperatures above 0; greedy takes one.
        split: "train", "validation" or "test".
        seed: of problems and sampling.
        max_new_tokens: limit of a completion; None takes `default_limit`.
        batch_size: prompts decoded together.
        bin_width: tokens per length bin; None takes `default_bin_width`.
        examples: pictures per generator, solved and failed each.

    Raises:
        InputError: a field outside its range.
    """

    generators: tuple[str, ...] = GENERATORS
    count: int = 100
    temperatures: tuple[float, ...] = (0.0, 1.0)
    samples: int = 1
    split: str = "test"
    seed: int = 0
    max_new_tokens: int | None = None
    batch_size: int = 32
    bin_width: int | None = None
    examples: int = 2

    def __post_init__(self) -> None:
        for field, values, known in (
            ("generators", self.generators, GENERATORS),
            ("split", (self.split,), SPLITS),
        ):
            for value in values:
                if value not in known:
                    raise InputError(f"{field} has {value!r}; expected one of {', '.join(known)}")
        for field in ("generators", "temperatures"):
            values = getattr(self, field)
            if not values or len(set(values)) != len(values):
                raise InputError(f"{field} is {values}; expected at least one, none twice")
        if any(not 0 <= value < float("inf") for value in self.temperatures):
            raise InputError(f"temperatures is {self.temperatures}; expected 0 (greedy) or above")
        for field in ("count", "samples", "max_new_tokens", "batch_size", "bin_width"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"{field} is {value}; expected at least 1")
        if self.examples < 0 or not 0 <= self.seed < 2**63:
            raise InputError(
                f"examples is {self.examples} and seed {self.seed}; expected at least 0 of each"
            )


def draw_problems(
    settings: EvaluationSettings, maze: MazeConfig, tie_break: str = "paper"
) -> tuple[dict[str, list[Solved]], list[dict[str, str]]]:
    """Test problems with their A* traces, and the generators that cannot exist at this size.

    Args:
        settings: generators, count, split and seed.
        maze: size, coverage and wall share for all; its own generator keeps its path length too.
        tie_break: of the A* that makes the true traces.
    """
    problems: dict[str, list[Solved]] = {}
    skipped = []
    for name in settings.generators:
        least = maze.minimum_path_cells if name == maze.generator else None
        try:
            config = MazeConfig(
                name, maze.width, maze.height, maze.coverage, maze.wall_fraction, least
            )
            batch = generate_solved_batch(
                config, settings.seed, range(settings.count), settings.split, tie_break
            )
        except InputError as error:
            skipped.append({"generator": name, "reason": str(error)})
            continue
        problems[name] = [batch[place] for place in range(settings.count)]
    return problems, skipped


def default_limit(problems: Mapping[str, Sequence[Solved]], regime: str) -> int:
    """Room for every true completion and then some: a multiple of 64 tokens.

    One and a quarter times the longest true trace (none for solution_only) and twice the longest
    shortest plan; what is cut there is reported as truncated.
    """
    solved = [pair for group in problems.values() for pair in group]
    trace = max((trace_length(trace.events) for _, trace in solved), default=0)
    plan = max((3 * len(trace.plan) for _, trace in solved), default=0)
    wanted = (0 if regime == "solution_only" else 1.25 * trace) + 2 * plan + 3
    return 64 * -(-int(wanted) // 64)

"""Every way in which a correct response is corrupted, and what each validator should say.

`reference` holds the shares that the authors' validator flags, measured on 120 Wilson and 120
drunkard's-walk traces of 30x30 mazes with one random corruption each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))


class Case(NamedTuple):
    """A solved problem; events [kind, x, y, g, h] with kind 0 create, 1 close."""

    problem: object
    events: list
    plan: list

    def places(self, kind):
        return [i for i, event in enumerate(self.events) if event[0] == kind]

    def free(self, x, y):
        floor = self.problem.floor
        return 0 <= x < floor.shape[1] and 0 <= y < floor.shape[0] and bool(floor[y, x])


def words_of(events, plan):
    trace = [w for k, x, y, g, h in events
             for w in (("create", "close")[k], str(x), str(y), f"c{g}", f"c{h}")]  # fmt: skip
    return [*trace, "solution", *plan_words(plan), "end"]


def plan_words(plan):
    return [word for x, y in plan for word in ("plan", str(x), str(y))]


def without(kind):
    def corrupt(case, random):
        place = random.choice(case.places(kind))
        return words_of(case.events[:place] + case.events[place + 1 :], case.plan)

    return corrupt


def first_events(share):
    def corrupt(case, random):
        return words_of(case.events[: int(len(case.events) * share)], case.plan)

    return corrupt


def without_final_close(case, random):
    return words_of(case.events[:-1], case.plan)


def duplicate(kind):
    def corrupt(case, random):
        place = random.choice(case.places(kind))
        return words_of(case.events[: place + 1] + case.events[place:], case.plan)

    return corrupt


def change(kind, column, by=1):
    def corrupt(case, random):
        events = [list(event) for event in case.events]
        events[random.choice(case.places(kind))][column] += by
        return words_of(events, case.plan)

    return corrupt


def cost_in_create_and_close(case, random):
    events = [list(event) for event in case.events]
    place = random.choice(case.places(0))
    cell = events[place][1:3]
    for event in events[place:]:
        if event[1:3] == cell:
            event[3] += 1
    return words_of(events, case.plan)


def create_at(pick):
    """One create moved to a cell that `pick` chooses, given the cell closed before it."""

    def corrupt(case, random):
        events = [list(event) for event in case.events]
        places = case.places(0)
        for place in random.sample(places, len(places)):
            closed = next(event for event in reversed(events[:place]) if event[0] == 1)
            options = pick(case, closed[1], closed[2])
            if options:
                events[place][1:3] = random.choice(options)
                return words_of(events, case.plan)
        return None

    return corrupt


def wall_neighbours(case, x, y):
    cells = [(x + dx, y + dy) for dx, dy in MOVES]
    height, width = case.problem.floor.shape
    inside = [(x, y) for x, y in cells if 0 <= x < width and 0 <= y < height]
    return [cell for cell in inside if not case.free(*cell)]


def far_cells(case, x, y):
    height, width = case.problem.floor.shape
    cells = [(a, b) for b in range(height) for a in range(width) if case.free(a, b)]
    return [(a, b) for a, b in cells if abs(a - x) + abs(b - y) > 1]


def cells_outside(case, x, y):
    height, width = case.problem.floor.shape
    return [(width, y), (x, height), (width + 3, height + 3)]


def swap_closes(case, random):
    events, closes = list(case.events), case.places(1)
    place = random.randrange(len(closes) - 1)
    first, second = closes[place], closes[place + 1]
    events[first], events[second] = events[second], events[first]
    return words_of(events, case.plan)


def without_word(case, random):
    words = words_of(case.events, case.plan)
    del words[random.randrange(5 * len(case.events))]
    return words


def insert(word):
    def corrupt(case, random):
        words = words_of(case.events, case.plan)
        words.insert(random.randrange(5 * len(case.events)), word)
        return words

    return corrupt


def plan_step_in_trace(case, random):
    words = words_of(case.events, case.plan)
    place = 5 * random.randrange(len(case.events))
    x, y = random.choice(case.plan)
    return [*words[:place], "plan", str(x), str(y), *words[place:]]


def create_after_goal(case, random):
    goal = case.events[-1]
    far = [e for e in case.events if e[0] == 0 and abs(e[1] - goal[1]) + abs(e[2] - goal[2]) > 1]
    return words_of([*case.events, random.choice(far)], case.plan) if far else None


def close_after_goal(case, random):
    """Closes the open cell of lowest f, as a search would that went on without expanding."""
    opened = {}
    for kind, x, y, g, h in case.events:
        if kind == 0:
            opened[x, y] = (g, h)
        else:
            opened.pop((x, y), None)
    if not opened:
        return None
    (x, y), (g, h) = min(opened.items(), key=lambda item: sum(item[1]))
    return words_of([*case.events, [1, x, y, g, h]], case.plan)


def without_delimiter(word):
    def corrupt(case, random):
        return [other for other in words_of(case.events, case.plan) if other != word]

    return corrupt


def plan_cut(first, last):
    def corrupt(case, random):
        return words_of(case.events, case.plan[first : len(case.plan) + last])

    return corrupt


def plan_skip(case, random):
    place = random.randrange(1, len(case.plan) - 1) if len(case.plan) > 2 else None
    if place is None:
        return None
    return words_of(case.events, case.plan[:place] + case.plan[place + 1 :])


def plan_through_wall(case, random):
    steps = [(i, wall) for i, (x, y) in enumerate(case.plan[:-1])
             for wall in wall_neighbours(case, x, y)]  # fmt: skip
    if not steps:
        return None
    place, wall = random.choice(steps)
    return words_of(case.events, [*case.plan[: place + 1], wall, *case.plan[place + 2 :]])


def plan_detour(case, random):
    place = random.randrange(len(case.plan) - 1)
    here, there = case.plan[place], case.plan[place + 1]
    return words_of(case.events, [*case.plan[: place + 1], there, here, *case.plan[place + 1 :]])


def empty_plan(case, random):
    return words_of(case.events, [])


@dataclass(frozen=True)
class Corruption:
    """What is done and what should come of it.

    Attributes:
        corrupt: (case, random) to words, or None if the case does not allow it.
        reference: share of Wilson and of drunkard's-walk traces that `reference` flags.
        strict: "yes": strict flags all; "ties": all but those that are legal runs of A* under
            another tie-break; "no": none, as the trace is not at fault.
        first: the code of the first reference error, where it is always the same.
        plan: the plan's error code.
    """

    corrupt: Callable
    reference: tuple[float, float]
    strict: str = "yes"
    first: str | None = None
    plan: str | None = None


GOAL, SYNTAX, LENGTH = "goal_not_reached", "operation_syntax_error", "plan_length_mismatch"

CORRUPTIONS = {
    "none": Corruption(lambda case, random: words_of(case.events, case.plan), (0, 0), "no"),
    "create_dropped": Corruption(without(0), (0.83, 0.68)),
    "close_dropped": Corruption(without(1), (0.99, 0.93), "ties"),
    "final_close_dropped": Corruption(without_final_close, (1, 1), first=GOAL),
    "second_half_dropped": Corruption(first_events(0.5), (1, 1), first=GOAL),
    "trace_empty": Corruption(first_events(0), (1, 1), first=GOAL),
    "close_duplicated": Corruption(duplicate(1), (1, 1), first="close_not_in_open_list"),
    "create_duplicated": Corruption(duplicate(0), (0, 0)),
    "create_g_plus_1": Corruption(change(0, 3), (0.91, 0.68)),
    "create_h_plus_1": Corruption(change(0, 4), (0.92, 0.63)),
    "create_and_close_g_plus_1": Corruption(cost_in_create_and_close, (0.52, 0.60)),
    "close_g_plus_1": Corruption(change(1, 3), (1, 1), first="close_not_in_open_list"),
    "close_h_minus_1": Corruption(change(1, 4, -1), (1, 1)),
    "create_on_wall": Corruption(create_at(wall_neighbours), (1, 1), first="create_close_wall"),
    "create_far_away": Corruption(create_at(far_cells), (1, 1), first="create_non_neighbor"),
    "create_outside": Corruption(create_at(cells_outside), (1, 1), first="invalid_coordinates"),
    "closes_swapped": Corruption(swap_closes, (1, 0.97), "ties"),
    "word_missing": Corruption(without_word, (1, 1), first=SYNTAX),
    "word_junk": Corruption(insert("junk"), (1, 1), first=SYNTAX),
    "word_keyword": Corruption(insert("wall"), (1, 1), first=SYNTAX),
    "plan_step_in_trace": Corruption(plan_step_in_trace, (0, 0)),
    "create_after_goal": Corruption(create_after_goal, (1, 1), first="create_non_neighbor"),
    "close_after_goal": Corruption(close_after_goal, (0, 0)),
    "solution_missing": Corruption(without_delimiter("solution"), (0, 0)),
    "end_missing": Corruption(without_delimiter("end"), (0, 0)),
    "plan_cell_skipped": Corruption(plan_skip, (1, 1), first=LENGTH, plan="illegal_move"),
    "plan_first_dropped": Corruption(plan_cut(1, 0), (1, 1), first=LENGTH, plan="illegal_start"),
    "plan_last_dropped": Corruption(plan_cut(0, -1), (1, 1), first=LENGTH, plan=GOAL),
    "plan_through_wall": Corruption(plan_through_wall, (0, 0), plan="illegal_move"),
    "plan_detour": Corruption(plan_detour, (1, 1), first=LENGTH),
    "plan_empty": Corruption(empty_plan, (0, 0), "no", plan="plan_syntax_error"),
}

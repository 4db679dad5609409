"""The rules of the authors' trace validator, written out literally: lists, linear scans.

Rules: Stechly et al. 2025 (arXiv 2505.13775), the validator in their GRPO reward. It is the oracle
of the compiled validator and the baseline of its benchmark.
"""

from itertools import pairwise

KEYWORDS = ("create", "close", "plan", "eos")
NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def integer(text):
    try:
        return int(text)
    except ValueError:
        return None


def group(words):
    """(events, plan or None, syntax error); None: the plan is malformed or missing."""
    events, entries, syntax_error, plan_broken = [], [], False, False
    i = 0
    while i < len(words):
        keyword = words[i]
        if keyword == "eos":
            break
        if keyword not in ("create", "close", "plan"):
            syntax_error = syntax_error or keyword != "bos"
            i += 1
            continue
        entry = words[i : i + (3 if keyword == "plan" else 5)]
        foreign = [key for key in KEYWORDS if key != keyword]
        cuts = [j for j, word in enumerate(entry) if any(key in word for key in foreign)]
        if cuts:
            if keyword == "plan":
                plan_broken = True
            else:
                syntax_error = True
            i += cuts[0]
            continue
        entries.append(entry)
        if keyword != "plan":
            numbers = [integer(word) for word in entry[1:3]]
            numbers += [integer(word[1:]) for word in entry[3:5]]
            if len(numbers) == 4 and None not in numbers:
                events.append((keyword, *numbers))
            else:
                syntax_error = True
        i += 3 if keyword == "plan" else 5
    plan = []
    while entries and entries[-1][0] == "plan" and not plan_broken:
        numbers = [integer(word) for word in entries.pop()[1:]]
        plan_broken = len(numbers) != 2 or None in numbers
        plan.insert(0, tuple(numbers))
    return events, None if plan_broken or not plan else plan, syntax_error


def walks(plan, start, goal, walls):
    if plan[0] != start or plan[-1] != goal:
        return False
    return all(
        (x2 - x1, y2 - y1) in NEIGHBOURS and (x2, y2) not in walls
        for (x1, y1), (x2, y2) in pairwise(plan)
    )


def slow_errors(problem, response):
    """All error codes of the trace, in order."""
    words = [word for word in response if word not in ("solution", "end")]
    walls = [(x, y) for y, row in enumerate(problem.floor.tolist()) for x in range(len(row))
             if not row[x]]  # fmt: skip
    start, goal = problem.start, problem.goal
    events, plan, syntax_error = group(words)
    errors = ["operation_syntax_error"] if syntax_error else []
    opened = [(*start, 0, abs(start[0] - goal[0]) + abs(start[1] - goal[1]))]
    closed, last, parents, costs = [], None, {}, {}
    for kind, x, y, g, h in events:
        if not (0 <= x < problem.width and 0 <= y < problem.height):
            errors.append("invalid_coordinates")
        elif (x, y) in walls:
            errors.append("create_close_wall")
        elif kind == "close" and (x, y, g, h) not in opened:
            errors.append("close_not_in_open_list")
        elif kind == "close" and g + h != min(entry[2] + entry[3] for entry in opened):
            errors.append("close_not_lowest_f_value")
        elif kind == "close":
            opened.remove((x, y, g, h))
            closed.append((x, y))
            last = (x, y)
        elif last is None:
            errors.append("first_create_not_last_closed")
        elif (x - last[0], y - last[1]) not in NEIGHBOURS:
            errors.append("create_non_neighbor")
        elif (x, y) in closed:
            errors.append("create_already_closed")
        else:
            places = [i for i, entry in enumerate(opened) if entry[:2] == (x, y)]
            if not places:
                opened.append((x, y, g, h))
            elif g < opened[places[0]][2]:
                opened[places[0]] = (x, y, g, h)
            if (x, y) not in costs or g < costs[x, y]:
                costs[x, y], parents[x, y] = g, last
    return errors + end_errors(closed, parents, start, goal, walls, plan)


def end_errors(closed, parents, start, goal, walls, plan):
    errors, implied = [], []
    if goal not in closed:
        errors.append("goal_not_reached")
    else:
        cell = goal
        while cell != start:
            implied.insert(0, cell)
            if cell not in parents:
                errors.append("plan_extraction_error")
                break
            cell = parents[cell]
        implied.insert(0, start)
    if plan is not None:
        if len(plan) != len(implied):
            errors.append("plan_length_mismatch")
        elif not walks(implied, start, goal, walls):
            errors.append("extracted_plan_invalid")
    return errors


def is_search(problem, events, plan):
    """Whether the events [kind, x, y, g, h] are a run of A*, by any tie-break, that gave the plan.

    Each close takes an open cell of lowest f; the creates up to the next close are, in any order,
    its free neighbours that are new or reached at less cost; the goal's close is the last event.
    """
    goal = problem.goal
    distance = lambda x, y: abs(x - goal[0]) + abs(y - goal[1])  # noqa: E731
    opened, closed, parents, events = {problem.start: 0}, {}, {}, list(events)
    while events:
        kind, x, y, g, h = events.pop(0)
        lowest = min(cost + distance(*cell) for cell, cost in opened.items())
        if kind != 1 or opened.get((x, y)) != g or h != distance(x, y) or g + h != lowest:
            return False
        closed[x, y] = opened.pop((x, y))
        if (x, y) == goal:
            chain = [goal]
            while chain[0] != problem.start:
                chain.insert(0, parents[chain[0]])
            return not events and chain == plan
        due = set()
        for a, b in ((x + dx, y + dy) for dx, dy in NEIGHBOURS):
            inside = 0 <= a < problem.width and 0 <= b < problem.height
            if not inside or not problem.floor[b, a] or (a, b) in closed:
                continue
            if opened.get((a, b), g + 2) > g + 1:
                due.add((0, a, b, g + 1, distance(a, b)))
        while events and events[0][0] == 0:
            event = tuple(events.pop(0))
            if event not in due:
                return False
            due.remove(event)
            opened[event[1:3]], parents[event[1:3]] = g + 1, (x, y)
        if due:
            return False
    return False

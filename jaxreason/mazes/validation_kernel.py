"""The compiled parts of the validators: words to events and plan, events to errors.

`read_response` groups words into events and plan steps by the rules of the authors' validator
(Stechly et al. 2025, arXiv 2505.13775; `maze_reward_function.py` of their GRPO code), and
`check_events` replays the events on an open list. Both record; what counts as an error at which
level is decided in `validation`.
"""

import heapq

import numpy as np

from jaxreason.mazes.kernels.compilation import kernel
from jaxreason.mazes.validation_words import (
    BOS,
    CLOSE,
    COORDINATE,
    COST,
    CREATE,
    END,
    EOS,
    HOLDS_CLOSE,
    HOLDS_CREATE,
    HOLDS_EOS,
    HOLDS_PLAN,
    NO_NUMBER,
    PLAN,
    REASONING,
    SOLUTION,
    STOP,
)

# Places in the array of findings of `read_response`; each holds a word's place, or -1.
BAD_WORD, DELIMITER, EARLY_PLAN, LATE_EVENT, UNUSUAL, PLAN_BROKEN, BEGIN, STOPPED, SPLIT_AT = range(
    9
)

# Error codes 0.. of the authors, then those only the strict level knows, in `validation_errors`.
(
    SYNTAX,
    OUTSIDE,
    WALL,
    FIRST_CREATE,
    NON_NEIGHBOUR,
    ALREADY_CLOSED,
    NOT_OPEN,
    NOT_LOWEST,
    GOAL_NOT_REACHED,
    EXTRACTION,
    LENGTH_MISMATCH,
    EXTRACTED_INVALID,
    DELIMITER_ERROR,
    PLAN_IN_TRACE,
    EVENT_AFTER_SOLUTION,
    UNUSUAL_WORD,
    WRONG_HEURISTIC,
    WRONG_COST,
    DUPLICATE_CREATE,
    INCOMPLETE_EXPANSION,
    EVENT_AFTER_GOAL,
    PLAN_MISMATCH,
    SEARCH_MISMATCH,
) = range(23)

ILLEGAL_START, ILLEGAL_MOVE, PLAN_GOAL_NOT_REACHED = 1, 2, 3


@kernel
def _lay_out(codes, kind, found):
    """Places of the words that remain when delimiters go; notes delimiters that are wrong."""
    length = codes.size
    for place in range(codes.size):
        if kind[codes[place]] == STOP:
            length = place
            break
    begin = 1 if length and kind[codes[0]] == REASONING else 0
    kept = np.empty(length, np.int64)
    count, solutions, ends = 0, 0, 0
    for place in range(begin, length):
        word = kind[codes[place]]
        if word == SOLUTION:
            solutions += 1
            if solutions == 1:
                found[SPLIT_AT] = place
            else:
                found[DELIMITER] = place
        elif word == END:
            ends += 1
            if place != length - 1:
                found[DELIMITER] = place
        else:
            if word in (BOS, EOS):
                found[DELIMITER] = place
            kept[count] = place
            count += 1
    if solutions == 0 or ends == 0:
        found[DELIMITER] = length
    found[BEGIN], found[STOPPED] = begin, length
    return kept[:count]


@kernel
def _note_position(word, first, last, found):
    """Strictly, events come before `solution`, plan steps after it, and it splits neither."""
    split = found[SPLIT_AT]
    if split >= 0 and first < split < last and found[DELIMITER] < 0:
        found[DELIMITER] = split
    if word == PLAN:
        if first < split and found[EARLY_PLAN] < 0:
            found[EARLY_PLAN] = first
    elif 0 <= split < first and found[LATE_EVENT] < 0:
        found[LATE_EVENT] = first


@kernel
def _read_event(codes, kept, i, number, cost, form, event):
    """Fills x, y, g, h; returns 0 if a number is missing, 1 if written unusually, else 2."""
    if i + 5 > kept.size:
        return 0
    usual = 2
    for column in range(1, 5):
        code = codes[kept[i + column]]
        value = number[code] if column < 3 else cost[code]
        if value == NO_NUMBER:
            return 0
        if form[code] != (COORDINATE if column < 3 else COST):
            usual = 1
        event[column] = value
    return usual


@kernel
def _read_plan(codes, kept, entry_kind, entry_at, number, form, found):
    """The trailing run of plan steps; a step without two numbers breaks the plan."""
    count = 0
    while count < entry_kind.size and entry_kind[entry_kind.size - 1 - count] == PLAN:
        count += 1
    plan = np.empty((count, 2), np.int64)
    if count == 0:
        found[PLAN_BROKEN] = found[STOPPED]
    for step in range(count - 1, -1, -1):
        i = entry_at[entry_kind.size - count + step]
        for column in range(2):
            code = codes[kept[i + 1 + column]] if i + 1 + column < kept.size else -1
            if code < 0 or number[code] == NO_NUMBER:
                found[PLAN_BROKEN] = kept[i]
                return plan[:0]
            if form[code] != COORDINATE:
                found[UNUSUAL] = kept[i]
            plan[step, column] = number[code]
    return plan


@kernel
def read_response(codes, kind, holds, number, cost, form):
    """Groups the words of a response into events and the plan.

    An entry is a keyword with its next words (four for an event, two for a plan step); another
    keyword, or a word that contains one, inside an entry cuts it short. Delimiters are left out
    first, wherever they stand.

    Args:
        codes: int64 [length], words; the other arguments are the fields of their `WordTable`.

    Returns:
        events int64 [events, 5] (0 create or 1 close, x, y, g, h), the place of each one's first
        word, plan int64 [cells, 2], and findings int64 [9]: a place for each kind, or -1.
    """
    found = np.full(9, -1, np.int64)
    kept = _lay_out(codes, kind, found)
    size = kept.size
    events, event_at = np.empty((size // 5, 5), np.int64), np.empty(size // 5, np.int64)
    entry_kind, entry_at = np.empty(size, np.int8), np.empty(size, np.int64)
    event_count, entry_count, i = 0, 0, 0
    while i < size:
        word = kind[codes[kept[i]]]
        if word == EOS:
            break
        if word not in (CREATE, CLOSE, PLAN):
            if word != BOS and found[BAD_WORD] < 0:
                found[BAD_WORD] = kept[i]
            i += 1
            continue
        cutting = HOLDS_EOS | HOLDS_CLOSE | (HOLDS_CREATE if word != CREATE else 0)
        if word == CLOSE:
            cutting ^= HOLDS_CLOSE
        if word != PLAN:
            cutting |= HOLDS_PLAN
        stop = min(i + (3 if word == PLAN else 5), size)
        after = i
        while after < stop and holds[codes[kept[after]]] & cutting == 0:
            after += 1
        if after < stop:
            mark = PLAN_BROKEN if word == PLAN else BAD_WORD
            if found[mark] < 0:
                found[mark] = kept[i]
        else:
            entry_kind[entry_count], entry_at[entry_count] = word, i
            entry_count += 1
            _note_position(word, kept[i], kept[stop - 1], found)
            if word != PLAN:
                after = i + 5
                quality = 0
                if stop == after:
                    quality = _read_event(codes, kept, i, number, cost, form, events[event_count])
                if quality == 0 and found[BAD_WORD] < 0:
                    found[BAD_WORD] = kept[i]
                if quality == 1 and found[UNUSUAL] < 0:
                    found[UNUSUAL] = kept[i]
                if quality > 0:
                    events[event_count, 0] = 0 if word == CREATE else 1
                    event_at[event_count] = kept[i]
                    event_count += 1
        i = after
    plan = np.empty((0, 2), np.int64)
    if found[PLAN_BROKEN] < 0:
        plan = _read_plan(
            codes, kept, entry_kind[:entry_count], entry_at[:entry_count], number, form, found
        )
    return events[:event_count], event_at[:event_count], plan, found


@kernel
def _create_error(x, y, last, floor, state):
    """The authors' reasons to refuse a create, or -1."""
    width = floor.shape[1]
    if last < 0:
        return FIRST_CREATE
    if abs(x - last % width) + abs(y - last // width) != 1:
        return NON_NEIGHBOUR
    if state[y * width + x] == 2:
        return ALREADY_CLOSED
    return -1


@kernel
def _missing_neighbour(last, floor, state, g, last_g):
    """A free neighbour of the cell closed last that its expansion should have created, or -1."""
    height, width = floor.shape
    for dx, dy in ((0, -1), (1, 0), (0, 1), (-1, 0)):
        x, y = last % width + dx, last // width + dy
        if 0 <= x < width and 0 <= y < height and floor[y, x]:
            cell = y * width + x
            if state[cell] == 0 or (state[cell] == 1 and g[cell] > last_g + 1):
                return cell
    return -1


@kernel
def _follow(parent, goal, start):
    """Cells from start to goal along the parents, which lead to cells closed ever earlier."""
    count, cell = 1, goal
    while cell != start:
        cell = parent[cell]
        count += 1
    chain = np.empty(count, np.int64)
    cell = goal
    for place in range(count - 1, -1, -1):
        chain[place] = cell
        cell = parent[cell] if place else cell
    return chain


@kernel
def check_events(events, floor, start, goal):
    """Replays events: the open list is that of A*, an event in error is recorded and skipped.

    Cells are numbers y * width + x. The lowest f comes from a heap whose entries are dropped late,
    when they no longer agree with the cell's cost.

    Args:
        events: int64 [events, 5] of `read_response`.
        floor: bool [height, width].
        start: first cell.
        goal: last cell.

    Returns:
        errors int64 [errors, 3] (code, event, a cell or an f that explains it), authors' and
        strict ones in the order of the events, and the cells of the plan that the parents give
        (empty if the goal was not closed).
    """
    height, width = floor.shape
    state = np.zeros(height * width, np.int8)  # 0 not seen, 1 open, 2 closed
    g, f = np.zeros(height * width, np.int64), np.zeros(height * width, np.int64)
    parent = np.full(height * width, -1, np.int64)
    errors, count = np.empty((4 * len(events), 3), np.int64), 0
    goal_x, goal_y = goal % width, goal // width
    f[start] = abs(start % width - goal_x) + abs(start // width - goal_y)
    state[start] = 1
    heap = [(f[start], start)]
    last = -1
    for event in range(len(events)):
        closes, x, y, event_g, event_h = events[event]
        cell, code, aside = y * width + x, -1, -1
        if not (0 <= x < width and 0 <= y < height):
            code = OUTSIDE
        elif not floor[y, x]:
            code = WALL
        elif closes == 0:
            code, aside = _create_error(x, y, last, floor, state), last
        elif state[cell] != 1 or g[cell] != event_g or f[cell] - g[cell] != event_h:
            code = NOT_OPEN
        else:
            while state[heap[0][1]] != 1 or f[heap[0][1]] != heap[0][0]:
                heapq.heappop(heap)
            if f[cell] != heap[0][0]:
                code, aside = NOT_LOWEST, heap[0][0]
        if code >= 0:
            errors[count] = code, event, aside
            count += 1
            continue
        if last == goal:
            errors[count] = EVENT_AFTER_GOAL, event, goal
            count += 1
        if closes:
            missing = -1
            if last >= 0 and last != goal:
                missing = _missing_neighbour(last, floor, state, g, g[last])
            if missing >= 0:
                errors[count] = INCOMPLETE_EXPANSION, event, missing
                count += 1
            state[cell], last = 2, cell
            continue
        if event_h != abs(x - goal_x) + abs(y - goal_y):
            errors[count] = WRONG_HEURISTIC, event, abs(x - goal_x) + abs(y - goal_y)
            count += 1
        if event_g != g[last] + 1:
            errors[count] = WRONG_COST, event, g[last] + 1
            count += 1
        if state[cell] == 1 and event_g >= g[cell]:
            errors[count] = DUPLICATE_CREATE, event, g[cell]
            count += 1
            continue
        state[cell], g[cell], f[cell], parent[cell] = 1, event_g, event_g + event_h, last
        heapq.heappush(heap, (f[cell], cell))
    chain = _follow(parent, goal, start) if state[goal] == 2 else np.empty(0, np.int64)
    return errors[:count], chain


@kernel
def check_plan(plan, floor, start_x, start_y, goal_x, goal_y):
    """The first error of a plan int64 [cells, 2] with the step it is at; (0, -1) if none."""
    height, width = floor.shape
    if plan[0, 0] != start_x or plan[0, 1] != start_y:
        return ILLEGAL_START, 0
    for step in range(1, len(plan)):
        x, y = plan[step]
        if not (0 <= x < width and 0 <= y < height) or not floor[y, x]:
            return ILLEGAL_MOVE, step
        if abs(x - plan[step - 1, 0]) + abs(y - plan[step - 1, 1]) != 1:
            return ILLEGAL_MOVE, step
    if plan[-1, 0] != goal_x or plan[-1, 1] != goal_y:
        return PLAN_GOAL_NOT_REACHED, len(plan) - 1
    return 0, -1

"""The colours of all maze pictures, on paper, on screen and in the terminal."""

Colour = tuple[int, int, int]

PAPER: Colour = (250, 249, 246)
INK: Colour = (38, 44, 56)
FAINT_INK: Colour = (120, 126, 138)
WALL: Colour = (52, 60, 76)
FREE: Colour = (255, 255, 255)
CREATED: Colour = (252, 238, 196)
CLOSED_FIRST: Colour = (214, 230, 245)
CLOSED_LAST: Colour = (72, 131, 196)
PLAN: Colour = (236, 121, 46)
START: Colour = (38, 150, 106)
GOAL: Colour = (140, 74, 190)
ERROR: Colour = (210, 34, 52)


def closed(order: float) -> Colour:
    """The colour of a closed cell, from the first (0) to the last (1)."""
    pairs = zip(CLOSED_FIRST, CLOSED_LAST, strict=True)
    red, green, blue = (round(first + (last - first) * order) for first, last in pairs)
    return red, green, blue

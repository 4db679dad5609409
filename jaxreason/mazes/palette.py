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


def hexadecimal(colour: Colour) -> str:
    """As `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that is `share` of the way from the first to the second."""
    pairs = zip(first, second, strict=True)
    red, green, blue = (round(one + (other - one) * share) for one, other in pairs)
    return red, green, blue


def closed(order: float) -> Colour:
    """The colour of a closed cell, from the first (0) to the last (1)."""
    return mix(CLOSED_FIRST, CLOSED_LAST, order)


def on_wall(colour: Colour) -> Colour:
    """The colour of an event on a wall cell: the wall shows through."""
    return mix(colour, WALL, 0.6)


def few_colours() -> list[Colour]:
    """At most 256 colours that a picture needs: the named ones, ramps, and softened edges."""
    ramp = [closed(step / 31) for step in range(32)]
    marks = (START, GOAL, PLAN, ERROR)
    edges = [
        mix(mark, ground, step / 6)
        for mark in marks
        for ground in (FREE, WALL, CLOSED_FIRST, CLOSED_LAST)
        for step in range(1, 6)
    ]
    greys = [mix(PAPER, INK, step / 15) for step in range(16)]
    named = [PAPER, INK, FAINT_INK, WALL, FREE, CREATED, on_wall(CREATED), *marks]
    return [*named, *ramp, *map(on_wall, ramp), *greys, *edges]

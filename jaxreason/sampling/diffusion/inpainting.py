"""Canvases for filling in and for going on beyond the edge of pictures made of codes.

A picture is a grid [height, width] of codes; its tokens are its rows one after the other. A canvas
is such a grid with -1 where `diffusion_image` is to draw. Everything is NumPy; B is pictures.
`training.diffusion.pixels` goes all the way from pixels to pixels.
"""

import numpy as np

from jaxreason.errors import InputError
from jaxreason.types import Batch

UNKNOWN = -1
"""The code of a place that is to be drawn."""


def inpaint(codes: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """A canvas that keeps all but the places to draw.

    Args:
        codes: [B, N] or [B, height, width] int.
        draw: bool of a shape that broadcasts to it, True where to draw.

    Raises:
        InputError: `draw` is not bool or does not fit.
    """
    codes, draw = np.asarray(codes), np.asarray(draw)
    if draw.dtype != bool:
        raise InputError(f"draw has dtype {draw.dtype}; expected bool, True where to draw")
    try:
        draw = np.broadcast_to(draw, codes.shape)
    except ValueError:
        raise InputError(f"draw of shape {draw.shape} does not fit codes {codes.shape}") from None
    return np.where(draw, UNKNOWN, codes).astype(np.int32)


def box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """[height, width] bool, True in rows top to bottom - 1 and columns left to right - 1.

    Raises:
        InputError: the box is empty or leaves the grid.
    """
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(
            f"box of rows {top} to {bottom} and columns {left} to {right} (ends not included) "
            f"is empty or leaves the grid of {height} x {width}"
        )
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    return inside


def place(codes: np.ndarray, height: int, width: int, top: int, left: int) -> np.ndarray:
    """A canvas of height x width with smaller pictures on it, everything around them to be drawn.

    Args:
        codes: [B, h, w] int, with h <= height and w <= width.
        height: rows of the canvas; the number of tokens the model draws is height x width.
        width: columns of the canvas.
        top: row of the pictures' first row.
        left: column of the pictures' first column.

    Raises:
        InputError: the pictures leave the canvas.
    """
    codes = _grids(codes)
    bottom, right = top + codes.shape[1], left + codes.shape[2]
    inside = box(height, width, top, left, bottom, right)
    canvas = np.full((len(codes), height, width), UNKNOWN, np.int32)
    canvas[:, inside] = codes.reshape(len(codes), -1)
    return canvas


def slide(codes: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A canvas of the same size, moved over the pictures: the way on for a model of one size.

    A model that draws height x width tokens cannot draw more; a wider picture is made by moving its
    window: what is in the old and the new window stays, the rest of the new one is drawn, and
    `stitch` puts both together.

    Args:
        codes: [B, height, width] int.
        rows: rows the window moves down (up if negative).
        columns: columns it moves to the right (left if negative).

    Raises:
        InputError: nothing moves, or no part of the old window is in the new one.
    """
    codes = _grids(codes)
    _, height, width = codes.shape
    if (rows, columns) == (0, 0) or abs(rows) >= height or abs(columns) >= width:
        raise InputError(
            f"a move by {rows} rows and {columns} columns leaves nothing to draw or nothing to "
            f"keep of a window of {height} x {width}"
        )
    canvas = np.full(codes.shape, UNKNOWN, np.int32)
    new_rows, old_rows = _overlap(height, rows)
    new_columns, old_columns = _overlap(width, columns)
    canvas[:, new_rows, new_columns] = codes[:, old_rows, old_columns]
    return canvas


def stitch(codes: np.ndarray, drawn: np.ndarray, top: int, left: int) -> np.ndarray:
    """Pictures and a window that was drawn over their edge, as one.

    Args:
        codes: [B, h, w] int; -1 where nothing has been drawn.
        drawn: [B, height, width] int, the window.
        top: row of the window's first row, counted in `codes` (negative above it).
        left: column of the window's first column.

    Returns:
        [B, h', w'] int32, the smallest grid that holds both; -1 in corners nobody has drawn. Where
        they overlap the pictures' own codes stay, except -1.
    """
    codes, drawn = _grids(codes), _grids(drawn)
    if len(codes) != len(drawn):
        raise InputError(f"drawn has {len(drawn)} windows; expected {len(codes)}, one per picture")
    up, before = max(0, -top), max(0, -left)
    height = up + max(codes.shape[1], top + drawn.shape[1])
    width = before + max(codes.shape[2], left + drawn.shape[2])
    whole = np.full((len(codes), height, width), UNKNOWN, np.int32)
    row, column = up + top, before + left
    whole[:, row : row + drawn.shape[1], column : column + drawn.shape[2]] = drawn
    own = whole[:, up : up + codes.shape[1], before : before + codes.shape[2]]
    own[...] = np.where(codes == UNKNOWN, own, codes)
    return whole


def with_canvas(
    prompts: Batch, canvas: np.ndarray, *, image_offset: int, image_codes: int, mask_id: int
) -> dict:
    """Prompts for `diffusion_image` whose image slots hold this canvas.

    Args:
        prompts: `tokens` [B, T], `image` [B, T] and whatever else, which stays.
        canvas: [B, N] or [B, height, width] codes, -1 where to draw.
        image_offset: id of image code 0.
        image_codes: number of image codes.
        mask_id: id of a masked token.

    Raises:
        InputError: a code out of range, or a canvas of another size than the image slots.
    """
    tokens, image = np.array(prompts["tokens"]), np.asarray(prompts["image"])
    canvas = np.asarray(canvas)
    canvas = canvas.reshape(len(canvas), -1)
    slots = image.sum(axis=1)
    if len(canvas) != len(tokens) or (slots != canvas.shape[1]).any():
        raise InputError(
            f"canvas of {len(canvas)} pictures of {canvas.shape[1]} codes does not fit "
            f"{len(tokens)} prompts of {sorted(set(slots.tolist()))} image slots"
        )
    wrong = np.argwhere((canvas < UNKNOWN) | (canvas >= image_codes))
    if len(wrong):
        row, place_ = (int(i) for i in wrong[0])
        raise InputError(
            f"picture {row} has code {canvas[row, place_]} at place {place_}; expected 0 to "
            f"{image_codes - 1}, or {UNKNOWN} where to draw"
        )
    tokens[image] = np.where(canvas == UNKNOWN, mask_id, canvas + image_offset).reshape(-1)
    return {**prompts, "tokens": tokens}


def _grids(codes: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 3:
        raise InputError(f"codes have shape {codes.shape}; expected [pictures, height, width]")
    return codes


def _overlap(length: int, move: int) -> tuple[slice, slice]:
    """Where the kept part lies in the moved window, and where it lay in the old one."""
    kept = slice(0, length - abs(move)), slice(abs(move), length)
    return kept if move >= 0 else kept[::-1]

"""The order in which tokens came, as animated GIFs: words and pictures out of nothing but masks."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreason.errors import InputError
from jaxreason.mazes import palette
from jaxreason.tokens.image_codec import ImageCodec

MASKED = palette.mix(palette.FAINT_INK, palette.PAPER, 0.45)
FRESH = palette.PLAN
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
_LINE, _FONT = 28, 15


def word_frames(
    words: Sequence[str],
    order: np.ndarray,
    prompt: Sequence[str] = (),
    columns: int = 96,
) -> list[Image.Image]:
    """One frame before the first step and one after each that revealed a word; others are bars.

    Args:
        words: the finished answer, end token left out or not.
        order: int [words], the step that revealed each word, from 0; -1 never.
        prompt: words shown above, in faint ink.
        columns: width of a line in letters.

    Raises:
        InputError: `order` has another length than `words`.
    """
    order = np.asarray(order)
    if order.shape != (len(words),):
        raise InputError(f"order has shape {order.shape}; expected ({len(words)},), one per word")
    font = ImageFont.load_default(_FONT)
    above = _places(prompt, columns, font, 0)
    first_line = above[-1][1] + 2 if above else 0
    places = _places(words, columns, font, first_line)
    lines = (places[-1][1] if places else first_line) + 1
    size = (round(columns * _FONT * 0.56) + 40, 34 + lines * _LINE + 16)
    # Steps that revealed only padding after the answer would show nothing.
    steps = [-1, *sorted(set(order[order >= 0].tolist()))]
    return [
        _word_frame(size, font, (prompt, above), (words, places), order, step) for step in steps
    ]


def picture_frames(
    codec: ImageCodec,
    codes: np.ndarray,
    order: np.ndarray,
    side: int = 320,
) -> list[Image.Image]:
    """One frame before the first step and one after each: masked places are grey.

    Args:
        codec: decodes codes.
        codes: int [N], the finished picture.
        order: int [N], the step that kept each code, from 0; -1 where it was known before.
        side: of the longer edge of the picture, in pixels.

    Raises:
        InputError: `order` has another shape than `codes`, or codes that the codec does not know.
    """
    codes, order = np.asarray(codes), np.asarray(order)
    if codes.shape != (codec.tokens,) or order.shape != codes.shape:
        raise InputError(
            f"codes have shape {codes.shape} and order {order.shape}; expected ({codec.tokens},)"
        )
    picture = codec.decode(codes[None])[0]
    rows, columns = codec.grid
    scale = max(1, side // max(picture.shape[:2]))
    large = picture.repeat(scale, 0).repeat(scale, 1)
    # Which token each pixel belongs to.
    across = np.arange(large.shape[1]) * columns // large.shape[1]
    down = np.arange(large.shape[0]) * rows // large.shape[0]
    token = down[:, None] * columns + across[None]
    last = _last(order)
    frames = []
    for step in range(-1, last + 1):
        seen = (order <= step)[token]
        frame = np.where(seen[..., None], large, np.array(MASKED, np.uint8))
        frames.append(_captioned(Image.fromarray(frame.astype(np.uint8)), step, last, order))
    return frames


def gif(frames: Sequence[Image.Image], milliseconds: int = 220, rest: int = 1800) -> bytes:
    """The frames as a GIF that repeats for ever and rests on the last frame.

    Raises:
        InputError: no frames, or frames of different sizes.
    """
    if len({frame.size for frame in frames}) != 1:
        raise InputError(f"a GIF needs frames of one size, got {[f.size for f in frames]}")
    # One palette for all, so that colours do not flicker.
    sheet = frames[-1].quantize(128)
    flat = [frame.quantize(palette=sheet, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(flat) - 1) + [rest]
    buffer = BytesIO()
    flat[0].save(
        buffer, "GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0, disposal=1
    )
    return buffer.getvalue()


def _last(order: np.ndarray) -> int:
    return int(order.max(initial=-1))


def _places(
    words: Sequence[str], columns: int, font: Font, line: int
) -> list[tuple[int, int, int]]:
    """Left edge, line and width of each word."""
    limit, left, places = round(columns * _FONT * 0.56), 0, []
    for word in words:
        width = max(round(font.getlength(word)), 10)
        if left and left + width > limit:
            left, line = 0, line + 1
        places.append((left, line, width))
        left += width + 9
    return places


def _word_frame(
    size: tuple[int, int],
    font: Font,
    above: tuple[Sequence[str], list[tuple[int, int, int]]],
    answer: tuple[Sequence[str], list[tuple[int, int, int]]],
    order: np.ndarray,
    step: int,
) -> Image.Image:
    image = Image.new("RGB", size, palette.PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((20, 10), f"step {step + 1} of {_last(order) + 1}", palette.FAINT_INK, font)
    for word, (left, line, _) in zip(*above, strict=True):
        draw.text((20 + left, 38 + line * _LINE), word, palette.FAINT_INK, font)
    for word, (left, line, width), came in zip(*answer, order, strict=True):
        x, y = 20 + left, 38 + line * _LINE
        if came < 0 or came > step:
            draw.rounded_rectangle((x, y + 1, x + width, y + _FONT + 4), 4, fill=MASKED)
        else:
            draw.text((x, y), word, FRESH if came == step else palette.INK, font)
    return image


def _captioned(picture: Image.Image, step: int, last: int, order: np.ndarray) -> Image.Image:
    image = Image.new("RGB", (picture.width + 24, picture.height + 48), palette.PAPER)
    image.paste(picture, (12, 36))
    masked = int((order > step).sum())
    text = f"step {step + 1} of {last + 1}    {masked} of {order.size} masked"
    ImageDraw.Draw(image).text((12, 9), text, palette.FAINT_INK, ImageFont.load_default(_FONT))
    return image

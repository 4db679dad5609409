"""The report of an image tokenizer: pictures beside their reconstructions, and code use."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from jaxreason.mazes import palette
from jaxreason.training.diffusion.image_tokenizer_measures import TokenizerMeasures
from jaxreason.training.files import write_atomically

SHOWN = 32
"""Pictures in the grid."""

_COLUMNS, _GAP, _SIDE = 4, 6, 96


def write_tokenizer_report(run_directory: Path, measures: TokenizerMeasures, step: int) -> None:
    """Write `reconstructions.png`, `codebook.png` and `image_tokenizer.json` into `report/`.

    Each file is complete or absent. In the grid every picture has its reconstruction to its right;
    a maze that is not read back exactly is framed.

    Args:
        run_directory: of the run.
        measures: held-out pictures through the tokenizer.
        step: training step of the parameters.

    Raises:
        FailureError: the disk refuses.
    """
    folder = run_directory / "report"
    numbers = {
        "step": step,
        "pictures": len(measures.images),
        **measures.numbers,
        "code_use": measures.use.tolist(),
    }
    write_atomically(folder / "reconstructions.png", reconstruction_grid(measures))
    write_atomically(folder / "codebook.png", codebook_figure(measures))
    write_atomically(folder / "image_tokenizer.json", json.dumps(numbers, indent=2) + "\n")


def reconstruction_grid(measures: TokenizerMeasures, shown: int = SHOWN) -> bytes:
    """The first pictures and their reconstructions as PNG, enlarged without smoothing."""
    count = min(shown, len(measures.images))
    rows, columns = measures.images.shape[1:3]
    scale = max(1, _SIDE // max(rows, columns))
    height, width = rows * scale, columns * scale
    cell_height, cell_width = height + 2 * _GAP, 2 * width + 4 * _GAP
    lines = -(-count // _COLUMNS)
    canvas = np.empty((lines * cell_height, _COLUMNS * cell_width, 3), np.uint8)
    canvas[:] = palette.PAPER
    for place in range(count):
        top, left = place // _COLUMNS * cell_height, place % _COLUMNS * cell_width
        if measures.right is not None and not measures.right[place]:
            frame = canvas[top + 1 : top + cell_height - 1, left + _GAP : left + cell_width - _GAP]
            frame[:] = palette.ERROR
        for picture, start in (
            (measures.images[place], left + 2 * _GAP - 1),
            (measures.reconstructions[place], left + 2 * _GAP + width + 2),
        ):
            large = picture.repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[top + _GAP : top + _GAP + height, start : start + width] = large
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, format="png")
    return buffer.getvalue()


def codebook_figure(measures: TokenizerMeasures) -> bytes:
    """How often each code occurs, most used first, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = np.sort(measures.use)[::-1] / max(1, measures.use.sum())
    used = int((measures.use > 0).sum())
    colour = palette.hexadecimal(palette.CLOSED_LAST)
    axes.bar(np.arange(len(shares)), shares, width=1.0, color=colour)
    axes.set_yscale("log")
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.set_xlabel("codes, most used first")
    axes.set_ylabel("share of the tokens")
    axes.set_title(
        f"{used} of {len(shares)} codes used, perplexity {measures.numbers['code_perplexity']:.1f}",
        loc="left",
        fontsize=10.5,
        fontweight="bold",
    )
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()

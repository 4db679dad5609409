"""The report of two compared checkpoints: an HTML page, the figures as PNG, the numbers as JSON."""

import json
from collections.abc import Callable
from pathlib import Path

from jaxreason.analysis.comparison import Comparison
from jaxreason.analysis.documents import document
from jaxreason.analysis.sparsity import Counts
from jaxreason.analysis.tensors import Checkpoint
from jaxreason.evaluation import comparison_figures, page
from jaxreason.evaluation.comparison_tables import RANKS, READINGS, mean_ranks, per_cent
from jaxreason.evaluation.report_folder import put_in_place
from jaxreason.evaluation.style import THEMES, Theme
from jaxreason.paths import as_path

Draw = Callable[[Comparison, Theme], bytes | None]

_FIGURES: tuple[tuple[str, str, Draw, str], ...] = (
    (
        "sparsity",
        "Unchanged weights by layer and matrix type",
        comparison_figures.heat_map,
        "Per cent of weights, by the rule asked for.",
    ),
    (
        "sweep",
        "How much of it is the tolerance, how much the precision?",
        comparison_figures.sweep,
        "One unit in the last place of a bfloat16 weight below 2<sup>-9</sup> is less than 1e-5, "
        "so that tolerance hides changes that bfloat16 shows.",
    ),
    (
        "spectra",
        "Singular values of the difference",
        comparison_figures.spectra,
        "A difference without structure follows the dashed line (Marchenko and Pastur 1967); one "
        "that lies in few directions falls steeply.",
    ),
)
_CARDS = ("exact", "absolute", "bf16_exact", "bf16_relative", "paper")


def build(comparison: Comparison) -> tuple[str, dict[str, bytes]]:
    """The page, and the light figures by name."""
    found = {
        name: {theme.name: image for theme in THEMES if (image := draw(comparison, theme))}
        for name, _, draw, _ in _FIGURES
    }
    drawn = {name: images for name, images in found.items() if images}
    total = comparison.total()
    body = [
        "<header><h1>What the update changed</h1>"
        f'<p class="lead">{_words(comparison.before)} to {_words(comparison.after)}: '
        f"{total.size:,} weights in {len(comparison.tensors)} tensors.</p></header>",
        _cards(comparison, total),
    ]
    for name, heading, _, note in _FIGURES:
        if name in drawn:
            body.append(page.section(heading, page.picture(drawn[name], heading), note=note))
    body += [_ranks(comparison), _paper(comparison), _all(comparison), _not_counted(comparison)]
    body.append(
        "<footer>Update sparsity after Mukherjee et al. 2025, arXiv 2505.11711; the relative rule "
        "after Zhu et al. 2025, arXiv 2511.08567. Made by jaxreason; the same numbers are in "
        "compare.json.</footer>"
    )
    html = page.page("What the update changed", body)
    return html, {name: images["light"] for name, images in drawn.items()}


def _words(checkpoint: Checkpoint) -> str:
    step = "" if checkpoint.step is None else f" at step {checkpoint.step}"
    name = "/".join(checkpoint.path.parts[-2:])  # runs of two seeds may share their last name
    return f"{page.escape(name)}{step}"


def _cards(comparison: Comparison, total: Counts) -> str:
    made = []
    # The two rules in bfloat16 agree but for zeros and subnormal numbers; one card is enough.
    relative = comparison.settings.reading == "bf16_relative"
    twin = "bf16_exact" if relative else "bf16_relative"
    for name in (card for card in _CARDS if card != twin):
        color = "correct" if name == comparison.settings.reading else "solution_only"
        words = READINGS[name]
        if name in ("absolute", "paper"):
            words = words.replace("tolerance", f"tolerance {comparison.settings.tolerance:g}")
        made.append(
            f'<div class="card" {page.color_of(color)}><b>{name.replace("_", " ")}</b>'
            f'<div class="big">{page.escape(per_cent(total.sparsity(name)))}<small> %</small></div>'
            f'<div class="sub">{words}</div></div>'
        )
    return f'<div class="cards">{"".join(made)}</div>'


def _ranks(comparison: Comparison) -> str:
    if mean_ranks(comparison) is None:
        return ""
    rows = []
    for matrix in [*comparison.by_matrix(), None]:
        ranks = mean_ranks(comparison, matrix)
        if ranks is not None:
            cells = [page.escape(per_cent(ranks[name])) for name in RANKS]
            rows.append([(matrix or "all").replace("_", " "), *cells])
    note = (
        "Per cent of the full rank, mean over matrices. Rounding alone gives nearly full matrix "
        "rank; stable and effective rank weigh singular values by size. The last column is the "
        "stable rank beside that of independent Gaussian noise of the same shape."
    )
    head = ["Matrix", *(name.replace("\n", " ") for name in RANKS.values())]
    return page.section("Rank of the difference", page.table(head, rows), note=note)


def _paper(comparison: Comparison) -> str:
    if comparison.settings.mode != "paper":
        return ""
    numbers = document(comparison)["paper"]
    rank = numbers["rank"]
    asked = f"{comparison.settings.tolerance:g}"
    within = numbers["sweep"] | {asked: numbers["within_tolerance"]}
    rows = [
        ["differences that are zero", f"{numbers['zero']:.4f}"],
        *([f"within {key}", f"{share:.4f}"] for key, share in within.items()),
        ["mean rank / full rank", "–" if rank is None else f"{rank:.4f}"],
        *(
            [f"layer {n}, mean non-zero share", f"{share:.4f}"]
            for n, share in numbers["layers"].items()
        ),
    ]
    note = (
        "Differences in bfloat16. The numbers of the layers are mean non-zero shares, each tensor "
        "weighted alike and without tolerance, as the authors' script has them."
    )
    table = page.table(["Number", "share"], rows)
    return page.section("As Mukherjee et al. 2025 count", table, note=note)


def _all(comparison: Comparison) -> str:
    rows = []
    for tensor in comparison.tensors:
        rank = tensor.rank
        ranks = ["–"] * 3
        if rank is not None:
            ranks = [
                f"{rank.matrix_rank} of {rank.full}",
                f"{rank.effective_rank:.1f}",
                f"{rank.stable_rank:.1f}",
            ]
        shares = [page.escape(per_cent(tensor.counts.sparsity(name))) for name in _CARDS]
        shape = " × ".join(map(str, tensor.shape))
        rows.append([page.escape(tensor.name), shape, *shares, *ranks])
    head = ["Tensor", "shape", *(name.replace("_", " ") for name in _CARDS)]
    head += ["matrix rank", "effective", "stable"]
    table = page.table(head, rows, "dense")
    content = f"<details><summary>{len(rows)} tensors</summary>{table}</details>"
    return page.section("All tensors", content, note="Unchanged weights, per cent, by each rule.")


def _not_counted(comparison: Comparison) -> str:
    together = comparison.together
    rows = [
        *([name, "only before", str(list(s))] for name, s in together.missing.items()),
        *([name, "only after", str(list(s))] for name, s in together.extra.items()),
        *(
            [item.name, "of another shape", f"{list(item.before)} to {list(item.after)}"]
            for item in together.reshaped
        ),
    ]
    if not rows:
        return ""
    cells = [[page.escape(cell) for cell in row] for row in rows]
    table = page.table(["Tensor", "why", "shape"], cells, "facts")
    return page.section("Not counted", table)


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Writes compare.html, compare.json and PNGs; returns the path of the page.

    Args:
        comparison: of two checkpoints.
        folder: made if need be; other files in it are left alone.

    Raises:
        FailureError: the disk refuses.
    """
    html, images = build(comparison)
    text = json.dumps(document(comparison), indent=1, allow_nan=False) + "\n"
    return put_in_place(as_path(folder), "compare.html", html, {"compare.json": text}, images)

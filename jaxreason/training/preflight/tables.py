"""A preflight as text for people."""

from typing import TextIO

from rich.console import Console
from rich.table import Table

from jaxreason.sharding.gpus import SHARE, GpuTopology
from jaxreason.sharding.topologies import GIB
from jaxreason.training.preflight.analysis import Report
from jaxreason.training.preflight.run import Preflight
from jaxreason.training.preflight.search import Found


def show(found: Preflight, file: TextIO) -> None:
    """Print the verdict, memory, collectives and the estimate of every program."""
    console = Console(file=file, highlight=False)
    slice_, slices = found.topology, found.slices
    mesh = " x ".join(f"{axis}={size}" for axis, size in found.mesh.items() if size > 1)
    several = f"{slices} x " if slices > 1 else ""
    gpus = isinstance(slice_, GpuTopology)
    console.print(
        f"{several}{slice_.name}: {slice_.chips * slices} {'GPUs' if gpus else 'chips'}, "
        f"{slice_.hosts * slices} hosts, "
        f"{slice_.devices * slices} devices of {slice_.chip.hbm_bytes / GIB:.2f} GiB; "
        f"mesh {mesh or 'of one device'}"
    )
    if gpus:
        console.print(
            f"{SHARE:.0%} of a GPU's memory: run with XLA_PYTHON_CLIENT_MEM_FRACTION={SHARE} "
            f"(JAX takes 0.75 by default)\n{found.compiled_for}"
        )
    for report in found.reports:
        _show_report(report, console, gpus)
    console.print("fits" if found.fits else "does not fit")


def _show_report(report: Report, console: Console, gpus: bool) -> None:
    often = "" if report.calls == 1 else f", {report.calls:g} calls a step"
    console.print(f"\n{report.name}{often}")
    table = Table("memory of a device", "")
    table.columns[1].justify = "right"
    for name, count in report.memory.items():
        table.add_row(name, amount(count))
    table.add_section()
    needed = "unknown" if report.needed is None else amount(report.needed)
    verdict = "fits" if report.fits else "does not fit"
    table.add_row(f"needed: {verdict} {amount(report.available)}", needed)
    console.print(table)
    if report.note is not None:
        console.print(report.note)
    if report.refusal is not None:
        console.print(f"the compiler: {report.refusal}")
        return
    if report.undonated:
        console.print(f"{amount(report.undonated)} of the state are not updated in place")
    if report.traffic:
        traffic = Table("collectives of a device", "network", "count", "sent")
        for entry in report.traffic:
            least = "" if entry.certain else "at least "
            amounts = f"{least}{entry.count:g}", f"{least}{amount(entry.bytes)}"
            traffic.add_row(entry.kind, entry.network, *amounts)
        console.print(traffic)
    if gpus:
        _show_products(report, console)
    else:
        _show_estimate(report, console)


def _show_products(report: Report, console: Console) -> None:
    """Of GPUs only the time of matrix products is known."""
    estimate = report.estimate
    if estimate is None or not estimate.compute:
        return
    mfu = "" if estimate.mfu is None else f"; MFU at most {100 * estimate.mfu:.0f} %"
    console.print(
        f"compiled in {report.seconds_to_compile:.0f} s; matrix products at their peak take "
        f"{seconds(estimate.compute)} a call{mfu} (nothing was run; memory traffic, launches and "
        "the network come on top)"
    )


def _show_estimate(report: Report, console: Console) -> None:
    estimate = report.estimate
    assert estimate is not None
    flops = "" if report.flops is None else f"{report.flops / 1e12:.4g} TFLOP by formula, "
    flops += f"{report.executed_flops / 1e12:.4g} TFLOP of products on a device; "
    least, most = ("", "") if estimate.certain else ("at least ", "at most ")
    console.print(
        f"{flops}compiled in {report.seconds_to_compile:.0f} s\n"
        f"estimate (roofline, nothing was run): {least}{seconds(estimate.seconds)} a call, "
        f"bound by {estimate.bound}: compute {seconds(estimate.compute)}, "
        f"HBM {seconds(estimate.hbm)}, ICI {seconds(estimate.ici)}, DCN {seconds(estimate.dcn)}"
        + ("" if estimate.mfu is None else f"; MFU {most}{100 * estimate.mfu:.0f} %")
    )


def show_search(found: list[Found], file: TextIO) -> None:
    """Print what a search found, and the options of the batch with the best estimate."""
    console = Console(file=file, highlight=False, soft_wrap=True)
    table = Table("remat", "rows", "a device's", "GiB", "estimated rows/s", "estimated MFU")
    for one in found:
        needed = one.report.needed
        rate, mfu = _rates(one)
        table.add_row(
            one.policy or "-",
            str(one.rows) if one.rows else "none fits",
            f"{one.rows_per_device:g}" if one.rows else "",
            "" if needed is None else f"{needed / GIB:.2f}",
            f"{rate:.4g}" if rate else "",
            "" if mfu is None else f"{100 * mfu:.0f} %",
        )
    console.print(table)
    fitting = [one for one in found if one.rows]
    if not fitting:
        console.print("even the smallest batch does not fit; use more chips or a smaller model")
        return
    best = max(fitting, key=lambda one: _rates(one)[0])
    console.print(f"best by the estimate (roofline, nothing was run): {best.options}")


def _rates(one: Found) -> tuple[float, float | None]:
    """Estimated rows per second and MFU."""
    estimate = one.report.estimate
    if estimate is None or not one.rows:
        return 0.0, None
    return one.rows / estimate.seconds, estimate.mfu


def amount(count: float) -> str:
    """Bytes with a unit that suits them."""
    for unit, size in (("GiB", GIB), ("MiB", 2**20)):
        if count >= size / 10:
            return f"{count / size:.2f} {unit}"
    return f"{count / 2**10:.1f} KiB"


def seconds(value: float) -> str:
    """A duration with a unit that suits it."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1e3 * value:.2f} ms" if value >= 1e-3 else f"{1e6 * value:.0f} us"

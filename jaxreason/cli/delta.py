"""`jaxreason delta make|apply`: a lossless sparse difference of two checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxreason.cli.main import suggestion
from jaxreason.cli.options import parse_options
from jaxreason.errors import InputError

if TYPE_CHECKING:
    from jaxreason.analysis.delta import DeltaSummary

HELP = "make a lossless sparse difference of two checkpoints, or apply one"
_USAGE = f"""usage: jaxreason delta make BASE NEW --out FILE
       jaxreason delta apply BASE FILE --out NEW

{HELP}; see `make --help` and `apply --help`"""


@dataclass(frozen=True)
class Make:
    """Write what turns BASE into NEW: the weights whose bits differ, packed and checksummed.

    Checkpoints are run directories (RUN or RUN@STEP), Orbax checkpoints, .safetensors files or
    folders of them; both with the same tensors. Of a run directory only the parameters count.
    """

    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """the checkpoint before"""
    new: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NEW")]
    """the checkpoint after"""
    out: str
    """file of the difference"""
    read_dtype: Literal["bfloat16", "float16"] | None = None
    """cast the tensors of both first: the difference of what is served, not of the masters"""
    threads: int | None = None
    """for packing; one per core by default, at most 8"""


@dataclass(frozen=True)
class Apply:
    """Write the checkpoint a difference was made for, bit for bit, as safetensors.

    Refused, with nothing left behind, if BASE is not the one the difference was made from.
    """

    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """the checkpoint the difference was made from"""
    delta: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """file of the difference"""
    out: str
    """a new .safetensors file, or a new folder for model.safetensors"""
    threads: int | None = None
    """for unpacking; one per core by default, at most 8"""


def run(argv: Sequence[str]) -> int:
    """Runs `jaxreason delta ...`; see `HELP`.

    Raises:
        InputError: checkpoints of different models, a wrong base, an unknown subcommand.
        FailureError: a damaged file, or a disk that refuses.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    if name == "make":
        make = parse_options(Make, rest, "jaxreason delta make")
        from jaxreason.analysis.delta import make_delta

        done = make_delta(
            make.base, make.new, make.out, read_dtype=make.read_dtype, threads=make.threads
        )
    elif name == "apply":
        apply = parse_options(Apply, rest, "jaxreason delta apply")
        from jaxreason.analysis.delta import apply_delta

        done = apply_delta(apply.base, apply.delta, apply.out, threads=apply.threads)
    else:
        close = suggestion(name, ("make", "apply")) or "; expected make or apply"
        raise InputError(f"subcommand {name!r} of `jaxreason delta` is unknown{close}")
    print(_sentence(done))
    return 0


def _sentence(done: "DeltaSummary") -> str:
    changed = f"{100 * done.changed / max(done.entries, 1):.3g}"
    if changed == "100" and done.changed < done.entries:
        changed = ">99.9"
    share = 100 * done.delta_bytes / max(done.full_bytes, 1)
    return (
        f"{done.path}: {done.changed:,} of {done.entries:,} weights differ ({changed} %); "
        f"difference {_size(done.delta_bytes)}, full {_size(done.full_bytes)} ({share:.3g} %); "
        f"{done.seconds:.2f} s, {_size(done.bytes_per_second)}/s"
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"

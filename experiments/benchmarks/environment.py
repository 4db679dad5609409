"""Where figures come from: commit, versions, processor, accelerator, load, date."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from peer_process import usable_cores

PACKAGES = ("jaxreason", "jax", "jaxlib", "flax", "optax", "numpy", "numba", "grain", "libtpu")
MATRIX_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8")


def git(*words: str) -> str:
    """What git says of this checkout; "" without git."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def commit() -> str:
    """The commit, marked where tracked files differ from it; "unknown" outside git."""
    name = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{name} with changes" if name and changed else name or "unknown"


def processor() -> dict[str, Any]:
    """Model, usable cores, and the instructions matrix products gain from."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    description = Path("/proc/cpuinfo")
    if description.is_file():
        for line in description.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
    found = [x for x in MATRIX_FLAGS if x in flags]
    return {"model": model, "cores": usable_cores(), "flags": found}


def accelerators() -> list[str]:
    """The devices jax finds, by kind: the processor counts too."""
    kinds = [device.device_kind for device in jax.devices()]
    return [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]


def versions(peer_versions: Mapping[str, str]) -> dict[str, str]:
    """Of Python, of what we use, and of the peers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, **peer_versions}


def load_average() -> float:
    """Of the last minute: how much else the machine had to do."""
    return round(os.getloadavg()[0], 2)


def environment(peer_versions: Mapping[str, str]) -> dict[str, Any]:
    """All of it as plain JSON."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(peer_versions),
        "processor": processor(),
        "devices": accelerators(),
        "load_average_at_start": load_average(),
    }

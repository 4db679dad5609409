"""Versions, device and command: what a number was made with."""

import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import jax

import jaxreason


def environment() -> dict[str, Any]:
    """Versions, device and command of this process."""
    device = jax.devices()[0]
    return {
        "jaxreason": jaxreason.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "devices": jax.device_count(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = names[0] if names else platform.processor() or platform.machine()
    return f"{model}, {len(names) or 1} cores"

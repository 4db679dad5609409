"""How the kernels are compiled: once per version of their sources, then loaded from disk.

Numba keys a cached function by its own file only and so keeps stale code when a function it calls
changes in another file. Here the cache folder carries a digest of all kernel sources.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# Numba sets its options at run time; type checkers do not see them.
_config: Any = numba.config


def _cache_directory() -> str:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(here.glob("*.py")):
        digest.update(source.read_bytes())
    base = Path(_config.CACHE_DIR) if _config.CACHE_DIR else here / "__pycache__"
    return str(base / f"kernels-{digest.hexdigest()[:16]}")


_CACHE_DIRECTORY = _cache_directory()


def kernel(function: Callable) -> Callable:
    """`numba.njit` with that cache; if its folder cannot be written, numba's own places serve."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = _CACHE_DIRECTORY
    try:
        return numba.njit(cache=True)(function)
    finally:
        _config.CACHE_DIR = before

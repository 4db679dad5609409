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


def cache_directory(folder: Path) -> Path:
    """Where the compiled code of the sources in `folder` goes; another place for other sources.

    Below `NUMBA_CACHE_DIR` if that is set, else below the folder's `__pycache__`.
    """
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    base = Path(_config.CACHE_DIR) if _config.CACHE_DIR else folder / "__pycache__"
    return base / f"kernels-{digest.hexdigest()[:16]}"


_CACHE_DIRECTORY = str(cache_directory(Path(__file__).parent))


def kernel(function: Callable) -> Callable:
    """`numba.njit` with that cache and without the interpreter lock, so that threads overlap.

    If the cache folder cannot be written, numba's own places serve.
    """
    before = _config.CACHE_DIR
    _config.CACHE_DIR = _CACHE_DIRECTORY
    try:
        return numba.njit(cache=True, nogil=True)(function)
    finally:
        _config.CACHE_DIR = before

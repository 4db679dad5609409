"""JAX's persistent compilation cache."""

import os
from pathlib import Path

import jax

from jaxreason.errors import disk_errors


def enable_compilation_cache(directory: str | Path | None = None) -> Path:
    """Keep compiled programs on disk, so that the next run of the same shapes starts at once.

    Args:
        directory: default `$JAX_COMPILATION_CACHE_DIR`, else `~/.cache/jaxreason/xla`.

    Returns:
        The directory; programs that compiled in under half a second are not kept.

    Raises:
        FailureError: the directory cannot be made.
    """
    chosen = directory or os.environ.get("JAX_COMPILATION_CACHE_DIR") or "~/.cache/jaxreason/xla"
    path = Path(chosen).expanduser()
    what = f"compilation cache {path} (JAX_COMPILATION_CACHE_DIR names another folder)"
    with disk_errors(what):
        path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path

"""JAX's persistent compilation cache."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxreason.errors import disk_errors

DIRECTORY = "JAX_COMPILATION_CACHE_DIR"
LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def enable_compilation_cache(directory: str | Path | None = None) -> str:
    """Keep compiled programs on disk, so that the next run of the same shapes starts at once.

    Of several processes the first one writes. Each reads what it finds: name a folder that all of
    them see. A URL, such as gs://BUCKET/cache, is left to JAX, which reads and writes it through
    etils; JAX advises a mounted bucket instead where many processes start at once.

    Args:
        directory: default `$JAX_COMPILATION_CACHE_DIR`, else `~/.cache/jaxreason/xla`.

    Returns:
        The directory; programs that compiled in under half a second are not kept, or in under
        `$JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` where that is set.

    Raises:
        FailureError: the directory cannot be made.
    """
    chosen = str(directory or os.environ.get(DIRECTORY) or "~/.cache/jaxreason/xla")
    if "://" not in chosen:
        path = Path(chosen).expanduser()
        with disk_errors(f"compilation cache {path} ({DIRECTORY} names another folder)"):
            path.mkdir(parents=True, exist_ok=True)
        chosen = str(path)
    jax.config.update("jax_compilation_cache_dir", chosen)
    if LEAST_SECONDS not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX settles at a process's first compilation whether it uses a cache, and which.
    compilation_cache.reset_cache()
    return chosen

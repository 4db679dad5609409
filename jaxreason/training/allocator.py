"""Keep the memory a CPU step frees, instead of giving it back to the system each time."""

import ctypes
import sys

# Parameters of mallopt(3) in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to hold on to freed memory.

    XLA's CPU backend allocates the temporaries of a program at every call. By default glibc maps
    large blocks from the system and unmaps them again, so each step faults every page in anew:
    for a model of 0.2 M parameters that was about half the time of a training step.

    XLA allocates on threads of its own, and glibc gives threads arenas that hold blocks below 64 MB
    only; larger ones (a step of maze_tiny on 16 x 192 tokens takes one of 217 MB) are mapped and
    unmapped whatever the thresholds say. So all threads share the main arena, as far as they are
    started after this call: call it before JAX first touches a device.

    Returns:
        Whether it took effect; False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST),
        (_TRIM_THRESHOLD, _LARGEST),
        (_TOP_PAD, 64 * 2**20),
        (_ARENA_MAX, 1),
    )
    return all([mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings])

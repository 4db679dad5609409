"""Random numbers inside numba kernels: a counter-based key by default, the authors' LCG on request.

A stream is a uint64 [2] array (state, kind), advanced in place. Both kinds give 32 uniform bits a
draw, and `draw(stream, k)` maps them to 0..k-1 by (bits * k) >> 32. For the LCG that is exactly
the authors' floor(state / 2^32 * k) in double precision, as state * k < 2^53.
"""

import numpy as np

from jaxreason.mazes.kernels.compilation import kernel

SPLITMIX, LCG = 0, 1

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW_32 = np.uint64(0xFFFFFFFF)
_SHIFT_32 = np.uint64(32)


@kernel
def mix(value: np.uint64) -> np.uint64:
    """Splitmix64's finaliser: a bijection of 64-bit words that scatters every input bit."""
    value = np.uint64(value)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def key(seed: int, index: int, attempt: int) -> np.uint64:
    """The start state of the stream that belongs to (seed, index, attempt)."""
    state = mix(np.uint64(seed) + _GOLDEN)
    state = mix((state ^ np.uint64(index)) + _GOLDEN)
    return mix((state ^ np.uint64(attempt)) + _GOLDEN)


@kernel
def draw(stream: np.ndarray, count: int) -> np.int64:
    """A uniform integer in 0..count-1; advances the stream by one number."""
    if stream[1] == np.uint64(LCG):
        stream[0] = (np.uint64(1664525) * stream[0] + np.uint64(1013904223)) & _LOW_32
        bits = stream[0]
    else:
        stream[0] += _GOLDEN
        bits = mix(stream[0]) >> _SHIFT_32
    return np.int64((bits * np.uint64(count)) >> _SHIFT_32)


@kernel
def shuffle(stream: np.ndarray, items: np.ndarray) -> None:
    """Fisher-Yates from the end, in place: a uniform permutation."""
    for last in range(items.size - 1, 0, -1):
        other = draw(stream, last + 1)
        items[last], items[other] = items[other], items[last]

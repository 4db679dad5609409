"""The numba kernels of the maze system: random numbers, carving, search, whole problems."""

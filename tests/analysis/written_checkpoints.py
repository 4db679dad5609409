"""Small checkpoints written without the package's own writers."""

import json

import numpy as np

from jaxreason.weights.safetensors_files import DTYPES

CODES = {dtype: code for code, dtype in DTYPES.items()}
RANDOM = np.random.default_rng(0)


def safetensors_bytes(tensors):
    """The format, written independently of the package's own writer."""
    header, body = {}, b""
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        offsets = [len(body), len(body) + len(data)]
        entry = {"dtype": CODES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        header[name] = entry
        body += data
    text = json.dumps({"__metadata__": {"format": "np"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def normal(*shape, dtype=np.float32):
    return RANDOM.normal(size=shape).astype(dtype)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()

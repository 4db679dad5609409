"""A mask in one file: packed bits with paths, shapes and a checksum.

Layout: the line `jaxreason-mask 1`, the length of the header (8 bytes, little endian), the header
(JSON: the path and shape of every leaf), the bits of the leaves one after the other (row-major,
first entry in the lowest bit, each leaf padded to whole bytes), and the SHA-256 of all that.
"""

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Literal

import jax
import numpy as np

from jaxreason.errors import FailureError, InputError, disk_errors
from jaxreason.masks.forms import (
    check_leaf,
    expand,
    is_mask_leaf,
    match,
    pack,
    path_name,
    to_boolean,
)
from jaxreason.paths import as_path, is_local, put_whole

_NAME = b"jaxreason-mask "
_MAGIC = _NAME + b"1\n"
_DIGEST = hashlib.sha256().digest_size


def save_mask(path: str | Path, mask: Any, params: Any = None) -> None:
    """Write a mask to one file, all or nothing; an eighth of a byte per entry.

    Args:
        path: of the file; replaced in one step if it exists.
        mask: a mask tree of any form, all of it on this host.
        params: the parameters, or their shapes, to store a prefix or whole-leaf bools entry by
            entry; without it they are stored as the bools they are.

    Raises:
        InputError: the mask is none, or does not match params (the path is named).
        FailureError: the file cannot be written.
    """
    target = as_path(path)
    if params is not None:
        mask = expand(mask, params)
    named = jax.tree_util.tree_flatten_with_path(mask, is_leaf=is_mask_leaf)[0]
    if not named:
        raise InputError("the mask has no leaves: expected a tree of masks")
    leaves = []
    for keys, leaf in named:
        check_leaf(leaf, None, f"the mask entry {path_name(keys)}")
        shape = None if isinstance(leaf, bool | np.bool_) else list(leaf.shape)
        leaves.append({"path": [_entry(key, path_name(keys)) for key in keys], "shape": shape})
    header = json.dumps({"leaves": leaves}).encode()
    if not is_local(target):
        with disk_errors(f"mask {target}"), put_whole(target) as store:
            _write(store, header, [leaf for _, leaf in named])  # type: ignore[arg-type]
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            try:
                _write(file, header, [leaf for _, leaf in named])  # type: ignore[arg-type]
                os.replace(file.name, target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise FailureError(f"mask {target} could not be written: {error}") from error


def _write(file: BinaryIO, header: bytes, leaves: list[Any]) -> None:
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    put(_MAGIC + len(header).to_bytes(8, "little") + header)
    for leaf in leaves:
        flags = np.asarray(jax.device_get(to_boolean(leaf)))
        put(np.packbits(flags.reshape(-1), bitorder="little").tobytes())
    file.write(digest.digest())
    file.flush()
    os.fsync(file.fileno())


def load_mask(
    path: str | Path, params: Any = None, *, form: Literal["boolean", "packed"] = "boolean"
) -> Any:
    """Read a mask that `save_mask` wrote.

    Args:
        path: of the file.
        params: the parameters, or their shapes: the mask is checked against them and returned in
            their containers. Without it, nested dicts and lists are returned, attributes of
            objects as keys.
        form: "boolean" gives bool arrays, "packed" `PackedMask`.

    Returns:
        A mask tree of host arrays. What was saved as a Python bool is one, unless params is given.

    Raises:
        InputError: not a mask file, or of another version; form; the mask does not match params
            (the path is named).
        FailureError: the file is missing, truncated or damaged.
    """
    if form not in ("boolean", "packed"):
        raise InputError(f"mask form={form!r}: expected boolean or packed")
    source = as_path(path)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise FailureError(f"mask {source} cannot be read: {error}") from error
    tree: Any = {}
    for keys, leaf in _read(data, source):
        made = pack(leaf) if form == "packed" and not isinstance(leaf, bool) else leaf
        if not keys:
            tree = made
            break
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(tuple(key), {})
        node[tuple(keys[-1])] = made
    tree = _containers(tree)
    if params is None:
        return tree
    triples, structure = match(tree, params)
    found = [
        leaf if is_mask_leaf(leaf) else to_boolean(leaf, np.shape(parameter))
        for _, leaf, parameter in triples
    ]
    if form == "packed":
        found = [pack(leaf) for leaf in found]
    return jax.tree.unflatten(structure, found)


def _read(data: bytes, source: Path) -> list[tuple[Any, Any]]:
    """[(path entries, leaf)], checked."""
    start = len(_MAGIC)
    if not data.startswith(_MAGIC):
        if _MAGIC.startswith(data) and data:
            raise FailureError(f"mask {source} is truncated: it has {len(data)} bytes")
        if data.startswith(_NAME):
            version = data[len(_NAME) : start].split(b"\n")[0].decode(errors="replace")
            raise InputError(f"mask {source} is of version {version!r}: expected 1")
        raise InputError(f"{source} is not a mask file: expected one that save_mask wrote")
    body = data[:-_DIGEST]
    if len(data) < start + 8 + _DIGEST or hashlib.sha256(body).digest() != data[-_DIGEST:]:
        raise FailureError(
            f"mask {source} is truncated or damaged: its checksum does not fit; restore the file"
        )
    length = int.from_bytes(data[start : start + 8], "little")
    place = start + 8 + length
    leaves = []
    for leaf in json.loads(data[start + 8 : place])["leaves"]:
        shape = tuple(leaf["shape"] or ())
        size = math.prod(shape)
        packed = np.frombuffer(data, np.uint8, -(-size // 8), place)
        place += len(packed)
        flags = np.unpackbits(packed, count=size, bitorder="little").astype(bool)
        leaves.append(
            (leaf["path"], bool(flags[0]) if leaf["shape"] is None else flags.reshape(shape))
        )
    return leaves


def _entry(key: Any, name: str) -> tuple[str, str | int]:
    """A step of a tree path as (kind, value)."""
    if isinstance(key, jax.tree_util.SequenceKey):
        return "index", key.idx
    if isinstance(key, jax.tree_util.GetAttrKey):
        return "attribute", key.name
    value = key.key
    if not isinstance(value, str | int):
        raise InputError(f"{name} has the key {value!r}: only text and whole numbers can be stored")
    return "key", value


def _containers(node: Any) -> Any:
    """Nested dicts and lists out of dicts keyed by (kind, value)."""
    if not isinstance(node, dict):
        return node
    if all(kind == "index" for kind, _ in node):
        return [_containers(node[key]) for key in sorted(node)]
    return {value: _containers(inner) for (_, value), inner in node.items()}

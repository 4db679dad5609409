"""Published folders made run directories and back, a block of a tensor in memory at a time."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from jaxreason.errors import FailureError, InputError
from jaxreason.models.llada import new_ids
from jaxreason.models.places import Place, by_leaf
from jaxreason.paths import as_path, is_local
from jaxreason.training.adapters import read_adapter
from jaxreason.training.checkpoint_reading import checkpoint_steps
from jaxreason.training.checkpoint_store import COMPLETE
from jaxreason.training.files import settle_config
from jaxreason.training.pretrained import (
    PretrainedModel,
    places_of,
    pretrained_model,
    tokenizer_texts,
    write_files,
)
from jaxreason.training.runs import read_experiment
from jaxreason.training.stored_tree import stored_tree
from jaxreason.training.streamed_checkpoint import StreamedLeaf, write_streamed
from jaxreason.weights.blocks import block_steps, blocks, rows_of
from jaxreason.weights.folders import (
    SHARD_BYTES,
    StoredWeights,
    appearing,
    check_space,
    open_weights,
)
from jaxreason.weights.llada import export_llada
from jaxreason.weights.llada_settings import LladaMetadata
from jaxreason.weights.placed import Dtype
from jaxreason.weights.pretrained import export_pretrained

CHUNK_BYTES = 1 << 25
"""How much of a tensor is read, and stored together, at once."""

Told = Callable[[str, float], None]


def import_run(
    folder: str | Path,
    run_directory: str | Path,
    *,
    dtype: Dtype | None = None,
    seed: int = 0,
    told: Told | None = None,
    adapter: str | Path | None = None,
    **options: Any,
) -> Any:
    """Makes a run directory of a published folder: its parameters are step 0.

    With an adapter it is that of a run that trained LoRA on the folder. Every name and shape is
    checked before anything is read; the directory appears complete or not at all.

    Args:
        folder: config.json and safetensors files.
        run_directory: a new one.
        dtype: of the parameters; see `stored_dtype` if None.
        seed: of the rows that are new where a vocabulary is extended.
        told: called with a name and its part of all bytes, after each block.
        adapter: a folder in PEFT's format, for these weights.
        **options: of `imported_model`, for LLaDA and MMaDA.

    Returns:
        What is imported: a `PretrainedModel` or an `ImportedModel`.

    Raises:
        InputError: the run directory has files, weights are missing, unknown or of another shape,
            a family, field or option that does not fit.
        FailureError: a file is damaged, the disk is full (checked first) or refuses.
    """
    run_directory = as_path(run_directory)
    check_new("run directory", run_directory)
    known = pretrained_model(folder, dtype, **options)
    weights = open_weights(folder)
    leaves, document = _leaves(known, weights, seed), known.as_json()
    if adapter is not None:
        low_rank, lora = read_adapter(adapter, known)
        leaves += low_rank
        document = {
            "kind": "adapter",
            "origin": document,
            "lora": asdict(lora),
            "params_dtype": known.params_dtype,
        }
    texts = tokenizer_texts(folder)
    with _new_run(run_directory, sum(leaf.bytes for leaf in leaves)) as partial:
        settle_config(partial, document, begun=False)
        if texts:
            write_files(partial / "tokenizer", texts)
        write_streamed(partial / "checkpoints", leaves, told)
    return known


def check_new(what: str, path: Path) -> None:
    """Refuse a destination that has something in it.

    Raises:
        InputError: it is a file, or a folder that is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{what} {path} exists already; choose a new one")


@contextmanager
def _new_run(run_directory: Path, needed: int) -> Iterator[Path]:
    """A local folder that becomes the run directory at the end, or is removed after an error."""
    if is_local(run_directory):
        with appearing(run_directory, needed) as partial:
            yield partial
        return
    with tempfile.TemporaryDirectory(prefix="jaxreason-") as name:
        local = Path(name)
        check_space(local, needed)
        yield local
        # What marks the checkpoint as complete is put last.
        (local / "checkpoints" / "0" / COMPLETE).unlink(missing_ok=True)
        remote: Any = run_directory
        remote.upload(local)
        (run_directory / "checkpoints" / "0" / COMPLETE).write_text("")


def _leaves(known: Any, weights: StoredWeights, seed: int) -> list[StreamedLeaf]:
    """The leaves of a model, made of its weights, which are checked."""
    dtype, places = np.dtype(known.params_dtype), places_of(known, weights)
    leaves = [_leaf(weights, keys, parts, dtype) for keys, parts in by_leaf(places).items()]
    embedding = next(leaf for leaf in leaves if leaf.keys == ("embedding",))
    more = known.model.vocabulary_size - embedding.shape[0]
    return [_longer(leaf, more, seed) for leaf in leaves] if more else leaves


def _leaf(
    weights: StoredWeights, keys: tuple[str, ...], parts: list[tuple[str, Place]], dtype: np.dtype
) -> StreamedLeaf:
    place = parts[0][1]
    layered = place.layer is not None
    rows, chunk = rows_of(place), list(place.ours)
    steps = block_steps(place, dtype.itemsize, CHUNK_BYTES)
    if rows is not None:
        chunk[rows.axis] = steps

    def given() -> Iterator[tuple[tuple[int, ...], NDArray]]:
        for name, place in parts:
            for first, array in blocks(weights.tensors[name], place, steps=steps):
                start = [0] * array.ndim
                if rows is not None:
                    start[rows.axis] = first
                layer = (place.layer or 0,) if layered else ()
                yield (*layer, *start), array.astype(dtype, copy=False)[(None,) * layered]
                del array

    shape = (len(parts), *place.ours) if layered else place.ours
    return StreamedLeaf(keys, shape, dtype, (1, *chunk) if layered else tuple(chunk), given)


def _longer(leaf: StreamedLeaf, more: int, seed: int) -> StreamedLeaf:
    """A leaf with `more` ids, if it has one row (or column) for each: what is new is drawn."""
    if leaf.keys not in (("embedding",), ("head",)):
        return leaf
    axis = 0 if leaf.keys == ("embedding",) else 1
    shape = list(leaf.shape)
    old, shape[axis] = shape[axis], shape[axis] + more

    def given() -> Iterator[tuple[tuple[int, ...], NDArray]]:
        yield from leaf.blocks()
        fresh = new_ids(leaf.keys[0], more, shape[1 - axis], jax.random.key(seed))
        yield (old, 0) if axis == 0 else (0, old), np.asarray(fresh).astype(leaf.dtype)

    return replace(leaf, shape=tuple(shape), blocks=given)


def export_run(
    run_directory: str | Path,
    folder: str | Path,
    *,
    step: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    dtype: Dtype | None = None,
    told: Told | None = None,
) -> Any:
    """Writes a run's model as it is published: weights, config.json and tokenizer.

    A layer of one tensor is read at a time (all layers of it, where the run has stored them
    together), and what is read is checked against what was saved.

    Args:
        run_directory: of a model that was imported, or post-trained from one; or of masked
            diffusion, which is written with LLaDA's names.
        folder: a new one.
        step: which checkpoint; the newest by default.
        shard_bytes: how large a file may grow.
        dtype: to write; as the checkpoint has it if None.
        told: called with a tensor's name and its part of all bytes.

    Returns:
        What the run is of: a `PretrainedModel`, an `ImportedModel`, or an experiment.

    Raises:
        InputError: a model that no published layout holds, or a folder with files.
        FailureError: no run there, a damaged checkpoint, or a disk that refuses.
    """
    folder = as_path(folder)
    check_new("weights folder", folder)
    known = read_experiment(run_directory)
    _check_exportable(run_directory, known)
    place = _step_folder(run_directory, step)
    params = stored_tree(as_path(run_directory), place, widen=dtype == "float32")
    if dtype is None:
        found = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
        dtype = "bfloat16" if found == ["bfloat16"] else "float32"
    options: dict[str, Any] = {"shard_bytes": shard_bytes, "dtype": dtype, "told": told}
    options["documents"] = tokenizer_texts(run_directory)
    if isinstance(known, PretrainedModel):
        export_pretrained(params, folder, known.shape(), **options)
        return known
    metadata, settings = _diffusion_metadata(known)
    config = known.transformer().config
    export_llada(params, folder, config, metadata=metadata, settings=settings, **options)
    return known


def _diffusion_metadata(known: Any) -> tuple[LladaMetadata, Mapping[str, Any]]:
    if not hasattr(known, "objective"):
        return known.metadata(), known.settings
    ids = known.vocabulary().ids if hasattr(known, "world") else known.ids
    return LladaMetadata(
        known.objective.mask_mode,
        ids.image_offset,
        ids.image_codes,
        ids.mask,
        ids.eos,
        ids.end_of_turn,
    ), {}


def _check_exportable(run_directory: str | Path, known: Any) -> None:
    if getattr(known, "kind", "") in ("pretrained", "imported") or hasattr(known, "objective"):
        return
    raise InputError(
        f"{run_directory} is of {known.words()}, which no published layout holds; expected a run "
        "of published weights or of masked diffusion"
    )


def _step_folder(run_directory: str | Path, step: int | None) -> Path:
    steps = checkpoint_steps(run_directory)
    if not steps or (step is not None and step not in steps):
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FailureError(
            f"{asked} in {run_directory}/checkpoints; steps there: {steps or 'none'}"
        )
    return as_path(run_directory) / "checkpoints" / str(steps[-1] if step is None else step)

"""What an update did to a model: sparsity, overlap, rank, delta files. Names load on first use."""

from jaxreason.lazy import lazy_names

_HOMES = {
    "Checkpoint": "tensors",
    "StoredTensor": "tensors",
    "CompareSettings": "comparison",
    "Comparison": "comparison",
    "compare": "comparison",
    "Equality": "equality",
    "unchanged": "equality",
    "count_unchanged": "sparsity",
    "update_rank": "rank",
    "spectral_shift": "rank",
    "principal_cosines": "rank",
    "open_checkpoint": "checkpoints",
    "place": "names",
    "Overlap": "overlap",
    "count_overlap": "overlap",
    "overlap_matrix": "overlap",
    "overlap_report": "overlap",
    "agreement_curve": "agreement",
    "first_touch": "trajectories",
    "run_checkpoints": "trajectories",
    "trajectory": "trajectories",
    "apply_delta": "delta",
    "make_delta": "delta",
    "align": "pairing",
    "pairs": "pairing",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

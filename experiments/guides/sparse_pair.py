"""Guide: is my pair of checkpoints sparse, and does that mean anything?

    python experiments/guides/sparse_pair.py                # two checkpoints made here
    python experiments/guides/sparse_pair.py BEFORE AFTER   # yours

A checkpoint is a folder of safetensors (as on model hubs), a single such file, an Orbax checkpoint
or a run directory. Tensors are read one at a time, so 8B models need no more memory than two of
their largest tensors each. On the command line: `jaxreason compare BEFORE AFTER --report page`.
"""

import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxreason.analysis.checkpoints import open_checkpoint
from jaxreason.analysis.comparison import CompareSettings, compare
from jaxreason.weights.folders import in_memory, save_weights


def make_pair(folder):
    """A made-up model of two layers before and after updates of one size, stored in bfloat16."""
    numbers = np.random.default_rng(0)
    names = [f"model.layers.{i}.self_attn.{m}_proj.weight" for i in (0, 1) for m in "qkvo"]
    before = {name: 0.02 * numbers.standard_normal((128, 128)) for name in names}
    # A dense update: every weight moves, by 1e-5 up or down, like a few steps of Adam.
    after = {name: w + 1e-5 * numbers.choice([-1, 1], w.shape) for name, w in before.items()}
    for part, tensors in (("before", before), ("after", after)):
        stored = {name: w.astype(ml_dtypes.bfloat16) for name, w in tensors.items()}
        save_weights(folder / part, in_memory(stored))
    return folder / "before", folder / "after"


def main(before, after):
    pair = open_checkpoint(before), open_checkpoint(after)
    comparison = compare(*pair, CompareSettings(rank=True))
    total = comparison.total()

    # 1. When do two weights count as equal? "Same bits" is the only rule without a knob.
    print(f"weights compared: {total.size:,}")
    print(f"same bits: {total.sparsity('exact'):.1%}")
    print(f"within 1e-5, the usual tolerance: {total.sparsity('absolute'):.1%}")

    # 2. Is it sparse because training touched few weights, or because storage rounded them away?
    # An update smaller than half a unit in the last place is lost: in bfloat16 that is a 512th of
    # the weight. Here every weight was moved, and yet most bits are the same.
    print(f"stored as: {' and '.join(comparison.tensors[0].dtypes)}")

    # 3. Rank tells more than the count: a sparse difference is usually of full rank.
    ranks = [tensor.rank for tensor in comparison.tensors if tensor.rank is not None]
    full = np.mean([rank.matrix_rank / rank.full for rank in ranks]) if ranks else float("nan")
    print(f"mean rank of the difference, of full rank: {full:.1%}")

    # 4. Two runs from one base that change the same weights may only share their rounding:
    # `jaxreason overlap BASE RUN RUN` puts null models beside the number.
    for layer, counts in comparison.by_layer().items():
        print(f"layer {layer}: {counts.sparsity('exact'):.1%} of the bits unchanged")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(*sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(*make_pair(Path(temporary)))

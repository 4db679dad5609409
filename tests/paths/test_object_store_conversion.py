"""Published folders and runs in an object store are converted like those on a disk."""

import jax
import numpy as np
import pytest
import tiny_models

from jaxreason.paths import as_path
from jaxreason.training.converting import export_run, import_run
from jaxreason.training.pretrained import tokenizer_texts
from jaxreason.training.runs import load_run

SLOW = [pytest.param(scheme, marks=pytest.mark.slow) for scheme in ("memory", "s3")]


@pytest.mark.parametrize("store", ["gs", *SLOW], indirect=True)
def test_to_a_store_and_back(store, tmp_path):
    tiny_models.write_tiny_model(tmp_path / "a", "qwen2", layers=1, vocabulary_size=320)
    import_run(tmp_path / "a", f"{store}/run", dtype="bfloat16")
    assert (as_path(f"{store}/run") / "checkpoints" / "0" / "commit_success.txt").is_file()
    export_run(f"{store}/run", f"{store}/published")
    expected, found = load_run(f"{store}/run").params, load_run(f"{store}/published").params
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert tokenizer_texts(f"{store}/published") == tokenizer_texts(tmp_path / "a") != {}

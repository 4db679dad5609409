"""A run made of a published folder and published again is loaded by transformers, tokenizer too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from jaxreason.training.converting import export_run, import_run
from jaxreason.training.runs import load_run


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_transformers_loads_what_is_converted_back(tmp_path, family):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tiny_models.write_tiny_model(tmp_path / "a", family, shard_bytes=20_000)
    import_run(tmp_path / "a", tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "b", shard_bytes=20_000)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "b")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b").eval()
    ids = tokenizer("Two plus three is five.")["input_ids"]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].numpy()
    run = load_run(tmp_path / "run")
    hidden, _ = jax.jit(run.model.apply)(run.params, jnp.asarray([ids]))
    np.testing.assert_allclose(run.model.unembed(run.params, hidden)[0], expected, atol=2e-5)

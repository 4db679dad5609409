"""Published folders of each family: the results of transformers, both ways."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_models

from jaxreason.errors import FailureError, InputError
from jaxreason.models import Transformer
from jaxreason.sampling import autoregressive
from jaxreason.weights import pretrained
from jaxreason.weights.folders import StoredWeights, in_memory, open_weights, save_weights
from jaxreason.weights.pretrained import (
    export_pretrained,
    import_pretrained,
    pretrained_config,
)
from jaxreason.weights.stored_tensor import StoredTensor

_SCRIPT = Path(__file__).parents[1] / "golden" / "generate_families.py"
_spec = importlib.util.spec_from_file_location("generate_families", _SCRIPT)
generate_families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_families)
CASES = generate_families.CASES
GREEDY_IN_CI = ("qwen2_windows", "mistral")


@pytest.fixture(scope="module")
def stored():
    return dict(np.load(generate_families.GOLDEN))


def write_case(stored, name, folder):
    """The folder that transformers saved: its config.json, the weights drawn again."""
    shapes = json.loads(str(stored[f"{name}/shapes"]))
    weights = {key: generate_families.draw(key, tuple(shape)) for key, shape in shapes.items()}
    documents = {"config.json": str(stored[f"{name}/config"])}
    save_weights(folder, in_memory(weights), documents=documents)


def logits_of(model, params):
    tokens = jnp.asarray(generate_families.TOKENS, jnp.int32)
    return jax.jit(lambda p: model.unembed(p, model.apply(p, tokens)[0]))(params)


def greedy_of(model, params, unused):
    sampler = autoregressive(
        model, max_new_tokens=generate_families.NEW_TOKENS, eos=unused, pad=0, temperature=0
    )
    prompts = jnp.asarray(generate_families.PROMPTS, jnp.int32)
    lengths = jnp.full(prompts.shape[:1], prompts.shape[1], jnp.int32)
    return sampler(params, {"tokens": prompts, "lengths": lengths}, jax.random.key(0)).tokens


def assert_results(folder, expected, greedy):
    shape, params = import_pretrained(folder)
    model = Transformer(shape.model)
    np.testing.assert_allclose(logits_of(model, params), expected["logits"], atol=2e-5, rtol=2e-5)
    if greedy:
        unused = set(range(1, generate_families.VOCABULARY)) - set(expected["greedy"].flat)
        found = greedy_of(model, params, min(unused))
        np.testing.assert_array_equal(found, expected["greedy"])
    return shape, params


@pytest.mark.parametrize("name", CASES)
def test_a_folder_of_transformers_gives_its_logits_and_greedy_tokens(stored, name, tmp_path):
    write_case(stored, name, tmp_path / "theirs")
    expected = {key: stored[f"{name}/{key}"] for key in ("logits", "greedy")}
    shape, params = assert_results(tmp_path / "theirs", expected, name in GREEDY_IN_CI)
    export_pretrained(params, tmp_path / "ours", shape)
    theirs, ours = open_weights(tmp_path / "theirs"), open_weights(tmp_path / "ours")
    assert set(ours) == set(theirs)
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key])
    assert pretrained_config(tmp_path / "ours").model == shape.model


@pytest.mark.oracle
@pytest.mark.parametrize("name", CASES)
def test_live_transformers_agrees_both_ways(name, tmp_path):
    transformers = pytest.importorskip("transformers", reason="install the extra `oracle`")
    family, settings = CASES[name]
    theirs = generate_families.reference_model(family, settings)
    theirs.save_pretrained(tmp_path / "theirs")
    expected = generate_families.results(theirs)
    shape, params = assert_results(tmp_path / "theirs", expected, True)
    export_pretrained(params, tmp_path / "ours", shape, shard_bytes=2000)
    assert (tmp_path / "ours" / "model.safetensors.index.json").exists()
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    found = generate_families.results(again.eval())
    np.testing.assert_array_equal(found["logits"], expected["logits"])
    np.testing.assert_array_equal(found["greedy"], expected["greedy"])
    for key in ("bos_token_id", "eos_token_id", "max_position_embeddings", "attention_dropout"):
        assert getattr(again.config, key) == getattr(theirs.config, key)


@pytest.mark.oracle
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_model_of_ours_is_loaded_by_transformers(family, tmp_path):
    """Longer than its window, in a folder written by us alone."""
    torch = pytest.importorskip("torch", reason="install the extra `oracle`")
    transformers = pytest.importorskip("transformers", reason="install the extra `oracle`")
    tiny_models.write_tiny_model(tmp_path / "ours", family, tokenizer=False, vocabulary_size=31)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    tokens = np.random.default_rng(3).integers(0, 31, (2, 40))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens)).logits.numpy()
    shape, params = import_pretrained(tmp_path / "ours")
    model = Transformer(shape.model)
    found = model.unembed(params, model.apply(params, jnp.asarray(tokens, jnp.int32))[0])
    np.testing.assert_allclose(found, expected, atol=5e-5, rtol=1e-4)


def test_a_damaged_config_is_a_failure(tmp_path):
    for content in ("{", "[]", '{"a": 1e}', "[" * 100_000, "\x00"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(FailureError, match="cannot be read as a model's configuration"):
            pretrained_config(tmp_path)
    with pytest.raises(FailureError, match=r"config\.json"):
        pretrained_config(tmp_path / "nowhere")


def test_the_head_of_a_tied_model_is_compared_block_by_block(monkeypatch):
    table, largest = np.full((100, 4), np.nan, np.float32), []

    def rows(first, last):
        largest.append(last - first)
        return table[first:last]

    def whole():
        raise AssertionError("read as a whole")

    tensor = StoredTensor("x", table.shape, table.dtype, whole, rows)
    weights = StoredWeights(Path("w"), {pretrained.EMBEDDING: tensor, pretrained.HEAD: tensor}, {})
    monkeypatch.setattr(pretrained, "TIED_BLOCK", 7 * 16)
    pretrained._check_tied(weights)
    assert (max(largest), sum(largest)) == (7, 200)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    tiny_models.write_tiny_model(tmp_path / "model", tokenizer=False)
    weights = dict(open_weights(tmp_path / "model"))
    config = (tmp_path / "model" / "config.json").read_text()

    def imported(changes, without=None):
        given = {**weights, **changes}
        given.pop(without, None)
        folder = tmp_path / f"changed_{len(list(tmp_path.iterdir()))}"
        save_weights(folder, in_memory(given), documents={"config.json": config})
        return import_pretrained(folder)[1]

    with pytest.raises(InputError, match=r"qwen2 weights lack 'model\.norm\.weight'"):
        imported({}, "model.norm.weight")
    with pytest.raises(InputError, match=r"hold 'model\.layers\.0\.self_attn\.q_norm"):
        imported({"model.layers.0.self_attn.q_norm.weight": np.ones(4, np.float32)})
    embedding = weights["model.embed_tokens.weight"]
    with pytest.raises(InputError, match=r"lm_head.weight differs from .*tie_word_embeddings"):
        imported({"lm_head.weight": embedding + 1})
    last = embedding.copy()
    last[-1, -1] = np.nan
    with pytest.raises(InputError, match=r"lm_head.weight differs"):
        imported({"lm_head.weight": last})
    with pytest.raises(InputError, match=r"lm_head.weight differs"):
        imported({"lm_head.weight": embedding[:-1]})
    imported({"lm_head.weight": embedding.astype(np.float64)})
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}
    params = imported({"lm_head.weight": embedding, **frequencies})
    jax.tree.map(
        np.testing.assert_array_equal, params, tiny_models.tiny_params(tiny_models.tiny_config())
    )


def test_dtypes_and_settings_survive_a_round_trip(tmp_path):
    settings = {"eos_token_id": [3, 4], "initializer_range": 0.1, "attention_dropout": 0.0}
    tiny_models.write_tiny_model(
        tmp_path / "one", "qwen3", dtype="bfloat16", settings=settings, tokenizer=False
    )
    shape, params = import_pretrained(tmp_path / "one")
    assert shape.model.dtype == "bfloat16"
    assert params["layers"]["query_norm"].dtype == jnp.bfloat16
    export_pretrained(params, tmp_path / "two", shape)
    one, two = ((tmp_path / name / "config.json").read_text() for name in ("one", "two"))
    assert one == two
    assert json.loads(two)["eos_token_id"] == [3, 4]
    wide, params = import_pretrained(tmp_path / "one", dtype="float32")
    assert wide.model.dtype == "float32"
    assert params["embedding"].dtype == jnp.float32

"""Sizes of the named shapes, counted without allocating them."""

import math

import jax
import pytest

from jaxreason.errors import InputError
from jaxreason.models import PRESETS, Transformer, TransformerConfig, count_parameters, preset
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules

CORE = 357_898_112


def size(config):
    return count_parameters(jax.eval_shape(Transformer(config).init, jax.random.key(0)))


def test_the_papers_model_has_358_7_million_parameters():
    tied, untied = (preset("qwen2_0_5b", 944, tied=tied) for tied in (True, False))
    assert size(tied) == CORE + 944 * 896 == 358_743_936
    assert size(untied) == CORE + 2 * 944 * 896 == 359_589_760
    assert size(preset("qwen2_0_5b", 151_936)) == 494_032_768  # Qwen2.5-0.5B as published


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model(name):
    assert size(preset(name, 100)) > 100_000


def test_llada_and_mmada_have_the_published_sizes():
    """Embedding and head of 4,096 features for each row; no biases, no shared key-value heads."""
    assert size(preset("llada_8b")) == 8_015_581_184
    assert size(preset("mmada_8b")) == 8_082_690_048 == 8_015_581_184 + 2 * 8192 * 4096
    config = preset("mmada_8b")
    assert (config.dtype, config.remat, config.attention) == ("bfloat16", "full", "bidirectional")
    assert (config.norm_epsilon, config.rope_base, config.tied) == (1e-5, 5e5, False)
    with pytest.raises(InputError, match="mmada_tiny' has no vocabulary"):
        preset("mmada_tiny")


def test_the_blocks_of_mmada_are_split_over_all_devices_of_a_mesh():
    mesh = jax.make_mesh((1, 4, 2, 1), ("replica", "fsdp", "tensor", "sequence"))
    shapes = jax.eval_shape(Transformer(preset("mmada_8b")).init, jax.random.key(0))
    shardings = match_rules(TRANSFORMER_RULES, shapes, mesh)
    for name, leaf in shapes["layers"].items():
        shard = math.prod(shardings["layers"][name].shard_shape(leaf.shape))
        assert leaf.size == shard * (1 if name.endswith("norm") else 8), name


def test_unknown_names_and_impossible_shapes_are_named():
    with pytest.raises(InputError, match="maze_huge"):
        preset("maze_huge", 944)
    with pytest.raises(InputError, match="kv_heads 3 does not divide"):
        preset("maze_tiny", 944, kv_heads=3)
    with pytest.raises(InputError, match="head_size is 31"):
        preset("maze_tiny", 944, head_size=31)
    with pytest.raises(InputError, match="vocabulary_size is 0"):
        size(preset("maze_tiny", 0))
    with pytest.raises(InputError, match="backend 'flash' is unknown"):
        preset("maze_tiny", 944, backend="flash")
    with pytest.raises(InputError, match="unroll is 5"):
        preset("maze_tiny", 944, unroll=5)
    assert isinstance(preset("maze_tiny", 944, unroll=4), TransformerConfig)

"""The MAGVIT-v2 tokenizer against the published sizes and the reference's numbers."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.errors import InputError
from jaxreason.models.magvit import Magvit, MagvitConfig, from_pixels, to_pixels
from jaxreason.models.magvit_names import (
    from_published,
    published_name,
    published_shapes,
    to_published,
)

TINY = MagvitConfig(8, (1, 2, 1), (1, 2, 1), (1, 1, 2), (2, 1, 1), code_bits=5, groups=4)


def hashed_arrays(config):
    """Parameters anybody can draw again, from the names of the published files."""
    arrays = {}
    for name, shape in published_shapes(config).items():
        if not name.startswith("quantize"):
            draw = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
            if len(shape) > 1:
                draw = draw / np.sqrt(np.prod(shape[1:]))
            else:
                draw = 0.1 * draw + name.endswith("weight")
            arrays[name] = draw.astype(np.float32)
    return arrays


def waves(rows, columns):
    y, x = np.mgrid[:rows, :columns].astype(float)
    image = np.stack(
        [np.sin(0.2 * x + 0.1 * y), np.cos(0.15 * x - 0.3 * y), np.sin(0.05 * x * y)], -1
    )
    return image[None].astype(np.float32)


def test_the_published_size():
    shapes = jax.eval_shape(Magvit(MagvitConfig()).init, jax.random.key(0))
    sizes = {part: sum(leaf.size for leaf in jax.tree.leaves(shapes[part])) for part in shapes}
    assert sizes == {"encoder": 55_439_171, "decoder": 39_947_833}
    config = MagvitConfig()
    assert (config.codes, config.downsampling) == (8192, 16)
    assert config.grid(256, 512) == (16, 32)


def test_the_reference_s_codes_and_picture():
    # Codes and pixels from running Gen-Verse/MMaDA's models on the same weights and image.
    config = MagvitConfig()
    model = Magvit(config)
    params = from_published(config, hashed_arrays(config))
    codes, z = jax.jit(model.encode)(params, waves(64, 64))
    wanted = "2747 1583 37 555 2649 2761 6749 931 4859 2267 253 4715 1725 2777 4841 3039"
    assert codes.tolist() == [[int(code) for code in wanted.split()]]
    assert float(jnp.abs(z).min()) == pytest.approx(0.0027, abs=5e-5)
    picture = np.asarray(jax.jit(model.decode_codes)(params, jnp.array([[0, 1, 4096, 8191]])))
    assert picture.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(picture[0, 0, 0], [0.11076, -0.05098, 0.28439], atol=1e-5)
    assert picture.mean() == pytest.approx(0.04395707, abs=1e-6)
    assert picture.std(ddof=1) == pytest.approx(0.57142996, abs=1e-6)


def test_a_tiny_one_has_its_shapes_and_treats_rows_apart():
    model = Magvit(TINY)
    params = jax.jit(model.init)(jax.random.key(0))
    images = jnp.concatenate([waves(8, 12), -waves(8, 12)])

    @jax.jit
    def both(params, images):
        codes, z = model.encode(params, images)
        return codes, z, model.decode_codes(params, codes, (2, 3))

    codes, z, pictures = both(params, images)
    assert (codes.shape, codes.dtype, z.shape) == ((2, 6), jnp.int32, (2, 2, 3, 5))
    assert pictures.shape == images.shape
    alone = both(params, images[1:].repeat(2, axis=0))
    np.testing.assert_array_equal(alone[0][0], codes[1])
    np.testing.assert_allclose(alone[2][0], pictures[1], atol=1e-5)
    # A code's place: row by row, the first channel first.
    bits = (np.asarray(z) > 0) @ (2 ** np.arange(4, -1, -1))
    np.testing.assert_array_equal(codes, bits.reshape(2, 6))


def test_published_names():
    for path, name in (
        ("encoder/conv_in/kernel", "encoder.conv_in.weight"),
        ("encoder/down_0_block_1/norm1/scale", "encoder.down.0.block.1.norm1.weight"),
        ("encoder/down_2_downsample/bias", "encoder.down.2.downsample.conv.bias"),
        ("encoder/mid_attn_1/proj_out/kernel", "encoder.mid.attn_1.proj_out.weight"),
        ("decoder/mid_block_2/conv2/bias", "decoder.mid.block_2.conv2.bias"),
        ("decoder/up_4_upsample/kernel", "decoder.up.4.upsample.conv.weight"),
        ("decoder/up_1_block_0/nin_shortcut/kernel", "decoder.up.1.block.0.nin_shortcut.weight"),
        ("encoder/quant_conv/kernel", "encoder.quant_conv.weight"),
        ("decoder/post_quant_conv/bias", "decoder.post_quant_conv.bias"),
    ):
        assert published_name(path) == name
    shapes = published_shapes(MagvitConfig())
    assert shapes["encoder.conv_in.weight"] == (128, 3, 3, 3)
    assert shapes["quantize.embedding"] == (8192, 13)
    assert shapes["quantize.power_vals"] == (13,)


def test_names_both_ways_lose_nothing():
    arrays = hashed_arrays(TINY)
    params = from_published(TINY, arrays)
    wanted = jax.eval_shape(Magvit(TINY).init, jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(wanted)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, wanted)
    back = to_published(TINY, params)
    assert set(back) == set(published_shapes(TINY))
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    assert back["quantize.embedding"][1].tolist() == [-1, -1, -1, -1, 1]
    assert back["quantize.power_vals"].tolist() == [16, 8, 4, 2, 1]
    again = from_published(TINY, back)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("encoder.conv_in.bias"), "lack encoder.conv_in.bias$"),
        (lambda a: a.update(other=np.zeros(1)), "have the unknown other$"),
        (
            lambda a: a.update({"encoder.conv_in.bias": np.zeros(7)}),
            r"encoder.conv_in.bias has shape \(7,\); expected \(8,\)",
        ),
        (
            lambda a: a.update({"quantize.power_vals": 2 ** np.arange(5)}),
            "quantize.power_vals does not hold",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message):
    arrays = hashed_arrays(TINY)
    change(arrays)
    with pytest.raises(InputError, match=message):
        from_published(TINY, arrays)


def test_pixels_survive():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(to_pixels(from_pixels(pixels)), pixels)
    np.testing.assert_array_equal(to_pixels(jnp.array([-7.0, 7.0, 0.0])), [0, 255, 128])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: m.encode(p, waves(8, 10)), "picture of 10x8 pixels: .* multiples of 4"),
        (
            lambda m, p: m.encode(p, waves(8, 8)[..., :1]),
            r"images must be floats .* \(1, 8, 8, 1\)",
        ),
        (lambda m, p: m.encode(p, np.zeros((1, 8, 8, 3), np.uint8)), "got uint8"),
        (lambda m, p: m.encode(p, waves(8, 8)[0]), "images must be floats"),
        (lambda m, p: m.decode_codes(p, np.zeros((1, 6), int)), "or a grid beside"),
        (lambda m, p: m.decode_codes(p, np.zeros((1, 6), int), (2, 2)), r"expected \[B, 2 x 2\]"),
        (lambda m, p: MagvitConfig(channels=12), r"model.groups is 32; .* \(12\)"),
        (lambda m, p: MagvitConfig(code_bits=0), "model.code_bits is 0"),
        (lambda m, p: MagvitConfig(decoder_blocks=(1, 1)), "model.decoder_blocks is .* expected 5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(Magvit(TINY), {})

"""Training a tiny image tokenizer: objective, run directory, codec, report, mesh."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.data.multimodal.pictures import PictureBatches, PictureData, picture_source
from jaxreason.errors import FailureError, InputError
from jaxreason.mazes.rasters import paint
from jaxreason.models.lookup_free_quantization import (
    bit_entropy,
    code_entropy,
    commitment,
    signs,
)
from jaxreason.models.magvit import Magvit, MagvitConfig, from_pixels
from jaxreason.objectives.image_tokenizer import TokenizerLossConfig, image_tokenizer
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.tokens.image_codec import PaletteCodec
from jaxreason.training.diffusion.image_codec import (
    MagvitCodec,
    encode_source,
    load_image_codec,
)
from jaxreason.training.diffusion.image_tokenizer_experiment import ImageTokenizerExperiment
from jaxreason.training.diffusion.image_tokenizer_measures import measure_tokenizer
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig, make_optimizer
from jaxreason.training.runs import experiment_from_json, load_experiment
from jaxreason.training.state import init_state
from jaxreason.training.step import make_step

DATA = PictureData(width=4, height=3, cell_pixels=2, count=64)
MODEL = MagvitConfig(8, (1, 1), (1, 1), (1, 1), (1, 1), code_bits=4, groups=2)
EXPERIMENT = ImageTokenizerExperiment(
    data=DATA,
    model=MODEL,
    # A large eps: otherwise Adam's first steps are signs of gradients, rounding noise included.
    optimizer=OptimizerConfig(learning_rate=0.05, warmup_steps=0, eps=0.1),
    train=TrainConfig(steps=2, log_every=1, evaluate_every=2),
    mesh=MeshConfig(fsdp=8),
    batch_size=8,
    validation_pictures=6,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    result = EXPERIMENT.run(directory, progress=False)
    return directory, result


@pytest.fixture(scope="module")
def params(run):
    return jax.device_get(run[1].state.params)


def first_batch(rows):
    return next(iter(PictureBatches(picture_source(DATA), rows)))


class Linear:
    """Stands in for the model: one bit per pixel, so that the loss can be followed by hand."""

    def latents(self, params, images):
        return images @ params["encoder"]

    def decode(self, params, quantised):
        return quantised @ params["decoder"]


LINEAR = {"encoder": jnp.array([[0.5], [-0.2], [0.4]]), "decoder": jnp.array([[0.3, 0.1, -0.6]])}


@pytest.mark.parametrize(
    ("reconstruction", "of", "entropies"),
    [("mse", "bits", bit_entropy), ("l1", "codes", code_entropy)],
)
def test_the_loss_is_the_sum_of_its_parts(reconstruction, of, entropies):
    config = TokenizerLossConfig(reconstruction, 0.3, beta=0.5, entropy=0.2, entropy_of=of)
    batch = first_batch(2)
    loss, metrics = image_tokenizer(Linear(), config)(LINEAR, batch, jax.random.key(0))
    images = from_pixels(batch["images"])
    z = images @ LINEAR["encoder"]
    error = signs(z) @ LINEAR["decoder"] - images
    distance = jnp.mean(error**2) if reconstruction == "mse" else jnp.mean(jnp.abs(error))
    undecided, used = entropies(z)
    wanted = distance + 0.3 * commitment(z, 0.5) + 0.2 * (undecided - used)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    assert all(float(count) == 2 for _, count in metrics.values())
    assert float(metrics["tokens"][0]) == z.size
    assert float(metrics["loss"][0]) == pytest.approx(2 * float(loss), rel=1e-6)


def test_the_encoder_learns_through_the_signs():
    config = TokenizerLossConfig(commitment=0, entropy=0)
    objective = image_tokenizer(Linear(), config)
    batch = first_batch(2)
    gradient = jax.grad(lambda params: objective(params, batch, None)[0])(LINEAR)
    images = from_pixels(batch["images"]).reshape(-1, 3)
    error = signs(images @ LINEAR["encoder"]) @ LINEAR["decoder"] - images
    wanted = images.T @ (2 / images.size * error @ LINEAR["decoder"].T)
    np.testing.assert_allclose(gradient["encoder"], wanted, rtol=1e-4)


@pytest.mark.slow
def test_a_run_on_eight_devices_equals_its_steps_on_one(run):
    _, result = run
    optimizer = make_optimizer(EXPERIMENT.optimizer)
    state = init_state(Magvit(MODEL).init, optimizer, jax.random.key(EXPERIMENT.train.seed))
    step = make_step(image_tokenizer(Magvit(MODEL), EXPERIMENT.loss), optimizer)
    batches = iter(PictureBatches(picture_source(DATA), 8))
    before = jax.device_get(state.params)
    for _ in range(2):
        state, _ = step(state, next(batches))
    kernel = result.state.params["encoder"]["conv_in"]["kernel"]
    assert len(kernel.sharding.device_set) == 8
    assert kernel.sharding.is_fully_replicated
    alone, together = jax.device_get((state.params, result.state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), alone, together)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, together)
    assert moved["encoder"]["conv_in"]["kernel"] > 1e-3


def test_a_run_leaves_numbers_codes_and_pictures(run):
    directory, result = run
    assert int(result.state.step) == 2
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    evaluation = next(row["evaluation"] for row in rows if "evaluation" in row)
    report = json.loads((directory / "report" / "image_tokenizer.json").read_text())
    assert report["pictures"] == 6
    assert sum(report["code_use"]) == 6 * 12
    for name in ("cells_right", "pictures_right", "codes_used", "mean_square_error"):
        assert evaluation[f"validation_{name}"] == pytest.approx(report[name], abs=1e-6)
    for name in ("reconstructions.png", "codebook.png"):
        assert (directory / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert not list((directory / "report").glob("*.tmp"))


def test_a_run_is_found_by_its_path_and_its_codec_is_that_of_its_parameters(run):
    directory, result = run
    config = json.loads((directory / "config.json").read_text())
    assert experiment_from_json(config) == EXPERIMENT
    codec = load_image_codec(directory)
    assert (codec.codes, codec.tokens, codec.grid, codec.picture) == (16, 12, (3, 4), (6, 8))
    whole = jax.device_get(result.state.params)
    same = MagvitCodec(MODEL, whole, DATA.picture)
    assert codec.identity == same.identity == json.loads(json.dumps(codec.identity))
    moved = jax.tree.map(lambda leaf: leaf + 1e-3, whole)
    assert MagvitCodec(MODEL, moved, DATA.picture).identity != codec.identity
    with pytest.raises(FailureError, match="no checkpoint of step 7"):
        load_image_codec(directory, step=7)


def test_a_codec_s_batches_do_not_show(params, tmp_path, monkeypatch):
    source = picture_source(DATA)
    codec = MagvitCodec(MODEL, params, DATA.picture, batch_size=4)
    images = source.images(range(7))
    codes = codec.encode(images)
    assert (codes.shape, codes.dtype) == ((7, 12), np.int32)
    np.testing.assert_array_equal(codec.encode(images[5:]), codes[5:])
    assert codec.encode(images[:0]).shape == (0, 12)
    pictures = codec.decode(codes)
    assert (pictures.shape, pictures.dtype) == (images.shape, np.uint8)
    np.testing.assert_array_equal(codec.decode(codes[5:]), pictures[5:])

    cache = tmp_path / "codes.npz"
    wanted = codec.encode(source.images(range(64)))
    with monkeypatch.context() as second:
        second.setattr(jax, "process_index", lambda: 1)
        np.testing.assert_array_equal(encode_source(codec, source, cache, chunk=30), wanted)
    assert not cache.exists(), "process 0 writes, and no other, as two would mix"
    np.testing.assert_array_equal(encode_source(codec, source, cache, chunk=30), wanted)
    assert cache.exists()
    np.testing.assert_array_equal(encode_source(codec, source, cache), wanted)
    other = picture_source(replace(DATA, seed=1))
    with pytest.raises(InputError, match="holds codes of another codec or of other pictures"):
        encode_source(codec, other, cache)


def test_measures_of_an_exact_codec_and_of_one_that_is_wrong_once():
    source = picture_source(replace(DATA, split="validation"))
    codec = PaletteCodec(4, 3, cell_pixels=2)
    measures = measure_tokenizer(codec, source, 10)
    assert measures.numbers["mean_square_error"] == 0
    assert measures.numbers["pictures_right"] == measures.numbers["cells_right"] == 1
    cells = source.cells(range(10))
    np.testing.assert_array_equal(measures.use, np.bincount(cells.ravel(), minlength=8))
    shares = measures.use[measures.use > 0] / 120
    assert measures.numbers["codes_used"] == len(shares) / 8
    entropy = -(shares * np.log(shares)).sum()
    assert measures.numbers["code_perplexity"] == pytest.approx(np.exp(entropy))

    class Wrong(PaletteCodec):
        def decode(self, codes):
            broken = codes.copy()
            broken[2, 5] = (broken[2, 5] + 1) % 5
            return super().decode(broken)

    measures = measure_tokenizer(Wrong(4, 3, cell_pixels=2), source, 10)
    assert measures.numbers["cells_right"] == pytest.approx(119 / 120)
    assert measures.numbers["pictures_right"] == 0.9
    assert np.flatnonzero(~measures.right).tolist() == [2]
    difference = measures.reconstructions[2].astype(int) - paint(cells[2], 2)
    assert measures.numbers["mean_absolute_error"] == pytest.approx(
        np.abs(difference).sum() / measures.images.size, rel=1e-5
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda p: replace(EXPERIMENT, data=replace(DATA, cell_pixels=3)),
            "picture of 12x9 pixels: both sides must be multiples of 2",
        ),
        (lambda p: replace(EXPERIMENT, batch_size=0), "batch_size is 0"),
        (lambda p: replace(EXPERIMENT, batch_size=12).run("never", False), "batch_size is 12"),
        (lambda p: TokenizerLossConfig("mae"), "loss.reconstruction is 'mae'"),
        (lambda p: TokenizerLossConfig(entropy=-1), "loss.entropy is -1"),
        (lambda p: TokenizerLossConfig(entropy_of="all"), "loss.entropy_of is 'all'"),
        (
            lambda p: ImageTokenizerExperiment(
                model=MagvitConfig(), loss=TokenizerLossConfig(entropy_of="codes")
            ),
            "loss.entropy_of is 'codes' with model.code_bits 13",
        ),
        (
            lambda p: MagvitCodec(MODEL, p, (6, 8)).encode(np.zeros((1, 8, 8, 3), np.uint8)),
            r"images has shape \(1, 8, 8, 3\); expected \[n, 6, 8, 3\]",
        ),
        (
            lambda p: MagvitCodec(MODEL, p, (6, 8)).encode(np.zeros((1, 6, 8, 3), np.float32)),
            "images must be RGB, uint8",
        ),
        (
            lambda p: MagvitCodec(MODEL, p, (6, 8)).decode(np.full((1, 12), 16)),
            "codes has 16 in row 0 at place 0; expected 0..15",
        ),
        (lambda p: MagvitCodec(MODEL, p, (6, 7)), "picture of 7x6 pixels"),
    ],
)
def test_bad_input_is_named_before_anything_is_compiled(params, call, message):
    with pytest.raises(InputError, match=message):
        call(params)


def test_a_run_of_something_else_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is of kind 'maze'; expected an image tokenizer's"):
        load_image_codec(tmp_path)


@pytest.mark.parametrize(("name", "bits"), [("image_tokenizer", 6), ("digit_tokenizer", 8)])
def test_the_tiny_experiments_have_a_code_for_each_square_of_four_pixels(name, bits):
    file = Path(__file__).parents[2] / "experiments" / "mmada" / f"{name}.py"
    experiment = load_experiment(file)
    assert experiment.model.grid(*experiment.data.picture) == (6, 6)
    assert experiment.model.codes == 2**bits
    assert experiment_from_json(json.loads(json.dumps(experiment.as_json()))) == experiment

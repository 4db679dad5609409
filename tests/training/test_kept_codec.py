"""A run keeps which image tokenizer gave its codes, and refuses another."""

import dataclasses

import jax
import pytest
from saved_runs import save_run

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import FailureError, InputError
from jaxreason.models import TransformerConfig
from jaxreason.tokens.image_codec import PaletteCodec
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.kept_codec import FILE, check_codec, keep_codec
from jaxreason.training.runs import load_run

CODEC, OTHER = PaletteCodec(3, 3), PaletteCodec(3, 3, cell_pixels=5)
TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, minimum_path_cells=None, count=8),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional"),
    rows={"draw_maze": 4},
    held_out=0,
)


@pytest.fixture
def directory(tmp_path):
    """A run with one checkpoint, as runs were before they kept their tokenizer."""
    save_run(tmp_path / "run", TINY.as_json(), TINY.transformer().init(jax.random.key(0)))
    return tmp_path / "run"


def test_a_run_that_keeps_no_tokenizer_is_loaded_and_stays_so(directory):
    assert load_run(directory).experiment == TINY
    keep_codec(directory, OTHER)
    assert not (directory / FILE).exists()


def test_a_tokenizer_that_was_trained_on_is_refused(directory, tmp_path):
    new = tmp_path / "new"
    keep_codec(new, OTHER)
    keep_codec(new, CODEC)  # nothing has been trained yet
    (new / FILE).rename(directory / FILE)
    assert load_run(directory).experiment == TINY
    keep_codec(directory, CODEC)
    message = r"trained with another image tokenizer .*\(cell_pixels 4, here 5\)"
    for function in (keep_codec, check_codec):
        with pytest.raises(InputError, match=message):
            function(directory, OTHER)
    (directory / FILE).write_text('{"codec": "magvit"}')
    with pytest.raises(InputError, match="another image tokenizer"):
        load_run(directory)
    for damaged in ("{", "[1]"):
        (directory / FILE).write_text(damaged)
        with pytest.raises(FailureError, match="does not describe an image tokenizer"):
            load_run(directory)


def test_a_base_with_another_tokenizer_is_refused(directory):
    """Sizes and ids agree; the pictures behind the codes do not."""
    later = dataclasses.replace(TINY, base=str(directory))
    assert later.codec() is later.codec()
    assert later.initial_params() is not None
    other = dataclasses.replace(TINY, base=str(directory))
    other.__dict__["_codec"] = OTHER
    with pytest.raises(InputError, match=r"base .* has another image tokenizer .*cell_pixels 4"):
        other.initial_params()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_dropout": 0.0}, r"guidance is 1.5 and text_dropout 0"),
        ({"world": dataclasses.replace(TINY.world, reasoning="correct")}, r"after reasoning"),
    ],
)
def test_guidance_is_refused_where_no_text_was_dropped(changes, message):
    guided = dataclasses.replace(TINY, decoding=DecodingConfig(guidance=1.5))
    with pytest.raises(InputError, match=message):
        dataclasses.replace(guided, **changes)
    dataclasses.replace(guided, rows={"plan": 1}, **changes)  # nothing is drawn
    dataclasses.replace(TINY, **changes)  # nothing is guided

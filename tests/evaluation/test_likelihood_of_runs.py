"""Bounds on the probability of right answers, and `jaxreason evaluate` on a diffusion run."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from jaxreason.cli.main import main
from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.errors import InputError
from jaxreason.evaluation.diffusion.evaluating import DiffusionEvaluation
from jaxreason.evaluation.diffusion.likelihood import likelihood_of
from jaxreason.models import TransformerConfig
from jaxreason.training.diffusion.blocks import BlockTraining
from jaxreason.training.diffusion.bounds import BoundConfig, Bounds, answer_bounds, filling
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.experiment import MazeExperiment
from jaxreason.training.loop import TrainConfig

BLOCK = 4
TINY = MaskedDiffusionExperiment(
    world=MazeWorld(width=3, height=3, minimum_path_cells=None, count=24),
    model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="block_causal"),
    blocks=BlockTraining(BLOCK),
    rows={"plan": 8},
    decoding=DecodingConfig(block=BLOCK, tokens_per_step=4),
    train=TrainConfig(steps=1, log_every=1, save_every=1),
    held_out=0,
)
SOURCE = TINY.source()
MODEL = TINY.transformer()
PARAMS = jax.tree.map(lambda x: 2 * x, MODEL.init(jax.random.key(1)))
EXAMPLES = range(3)


@pytest.fixture(scope="module")
def exact():
    """Bounds with every mask of every block tried."""
    return answer_bounds(MODEL, PARAMS, SOURCE, "plan", EXAMPLES, block=BLOCK)


def test_answers_end_with_their_first_end_token():
    row = SOURCE.row(0, "plan")
    answer = SOURCE.answer(0, "plan")
    begin = int(np.argmax(row.maskable))
    filled = filling(row, SOURCE.vocabulary.eos)
    end = begin + 1 + len(answer)  # what follows the header begins with its line break
    np.testing.assert_array_equal(row.tokens[begin + 1 : end], answer)
    assert not filled[: end + 1].any()
    assert filled[end + 1 :].all()


def test_drawn_masks_give_the_exact_bound_on_average(exact):
    assert exact.exact
    np.testing.assert_array_equal(
        exact.tokens, [len(SOURCE.answer(i, "plan")) + 2 for i in EXAMPLES]
    )
    config = BoundConfig(exact=0, draws=256, batch=3)
    drawn = answer_bounds(MODEL, PARAMS, SOURCE, "plan", EXAMPLES, config=config, block=BLOCK)
    assert not drawn.exact
    np.testing.assert_allclose(drawn.nats, exact.nats, rtol=0.03)
    assert (drawn.nats != exact.nats).any()


def test_a_hidden_filling_costs_nothing(exact):
    hidden = BoundConfig(padding="hidden")
    found = answer_bounds(MODEL, PARAMS, SOURCE, "plan", EXAMPLES, config=hidden, block=BLOCK)
    np.testing.assert_array_equal(found.tokens, exact.tokens)
    # A random model pays for every token alike, and most tokens of a row are filling.
    assert (found.nats > 0.7 * exact.nats).all()


def test_batches_do_not_matter_to_exact_bounds(exact):
    config = BoundConfig(batch=2)
    found = answer_bounds(MODEL, PARAMS, SOURCE, "plan", EXAMPLES, config=config, block=BLOCK)
    np.testing.assert_allclose(found.nats, exact.nats, rtol=1e-5)


def test_means_and_errors_of_bounds():
    bounds = Bounds(np.array([-2.0, -6.0, -4.0]), np.array([2, 4, 3]), True)
    found = likelihood_of(bounds)
    assert found.nats == (4.0, pytest.approx(2 / math.sqrt(3)), 3)
    assert found.nats_per_token.value == pytest.approx(12 / 9)
    # Residuals 2 - 8/3, 6 - 16/3, 4 - 4 with deviation sqrt(4/9), over the mean of 3 tokens.
    assert found.nats_per_token.standard_error == pytest.approx(2 / 3 / math.sqrt(3) / 3)
    assert found.perplexity.value == pytest.approx(math.exp(4 / 3))
    alone = likelihood_of(Bounds(np.array([-2.0]), np.array([2]), True))
    assert alone.as_json()["nats"]["standard_error"] is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"draws": 0}, "draws is 0"),
        ({"exact": 13}, "exact is 13; expected at most 12"),
        ({"padding": "cut"}, "padding is 'cut'"),
    ],
)
def test_values_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        BoundConfig(**values)
    with pytest.raises(InputError, match="split is 'dev'"):
        DiffusionEvaluation(split="dev")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one step."""
    directory = tmp_path_factory.mktemp("runs") / "blocks"
    TINY.run(directory, progress=False)
    return directory


def test_the_command_judges_and_scores_every_task(trained, capsys):
    assert main(["evaluate", str(trained), "--count", "3", "--batch-size", "3"]) == 0
    said = capsys.readouterr().out
    assert "text: solve" in said
    document = json.loads((trained / "evaluation" / "step-1.json").read_text())
    found = document["tasks"]["plan"]
    assert found["judged"]["correct"]["n"] == 3
    test = dataclasses.replace(TINY.world, split="test", count=3)
    lengths = [
        len(dataclasses.replace(TINY, world=test).source().answer(i, "plan")) + 2 for i in EXAMPLES
    ]
    assert found["likelihood"]["tokens"] == pytest.approx(np.mean(lengths))
    assert found["likelihood"]["exact"]
    # One step after random weights every token is about as likely as any other.
    assert found["likelihood"]["nats"]["value"] > np.mean(lengths) * math.log(10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--generators", "wilson"], "--generators is for next-token models"),
        (["--max-new-tokens", "9"], "--max-new-tokens is for next-token models"),
        (["--tasks", "draw_maze"], "tasks has 'draw_maze'; the run was trained on plan"),
        (["--draws", "0"], "draws is 0"),
    ],
)
def test_options_that_do_not_apply_are_refused(trained, capsys, options, message):
    assert main(["evaluate", str(trained), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_next_token_run_has_no_tasks(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(MazeExperiment().as_json()))
    assert main(["evaluate", str(tmp_path), "--tasks", "plan"]) == 2
    assert "--tasks is for masked-diffusion models" in capsys.readouterr().err

"""The reference's losses and gradient, number by number, and every trap of its normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from diffusion_fixture import INPUTS, MODEL, PARAMS, RATIO, TOKENS, batch_of, corrupted_of
from golden_llada import MASK

from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig, loss_of
from jaxreason.objectives.diffusion.tasks import TASKS, TaskCoefficients
from jaxreason.objectives.diffusion.token_scores import token_scores

CONFIG = MaskedDiffusionConfig(
    TaskCoefficients(t2i=1.0, lm=0.1, lm_chat=0.1, mmu=1.0), mask_mode="legacy_float"
)
T2I, LM, MMU = 6.231912, 5.610866, 4.691079


@jax.jit
def evaluate(batch, corrupted):
    return loss_of(MODEL, PARAMS, batch, corrupted, CONFIG)


def per_task(batch, corrupted):
    loss, metrics = evaluate(batch, corrupted)
    parts = {name: np.array(metrics[f"loss_{name}"]) for name in TASKS}
    return float(loss), {name: a / b if b else 0.0 for name, (a, b) in parts.items()}


@jax.jit
def gradient_norm(batch, corrupted):
    def loss(params):
        return loss_of(MODEL, params, batch, corrupted, CONFIG)[0]

    return optax.global_norm(jax.grad(loss)(PARAMS))


@pytest.fixture(scope="module")
def losses():
    """Cross-entropy of every token of the fixture."""
    batch = batch_of()
    scores = jax.jit(
        lambda batch: token_scores(
            MODEL, PARAMS, jnp.asarray(INPUTS), batch["tokens"], batch["keys"], "legacy_float"
        )
    )(batch)
    return np.asarray(scores.losses)


def test_token_losses_equal_the_reference(losses):
    np.testing.assert_allclose(
        losses[0, [4, 5, 7, 9]], [6.57195, 6.9593, 5.27239, 6.12401], atol=2e-5
    )
    np.testing.assert_allclose(losses[1, [1, 3, 8]], [6.19465, 5.92640, 4.71155], atol=2e-5)
    np.testing.assert_allclose(losses[2, [7, 9]], [5.42912, 4.30172], atol=2e-5)
    np.testing.assert_allclose(losses[3, [6, 7]], [4.75778, 4.50599], atol=2e-5)


def test_task_losses_equal_the_reference():
    loss, tasks = per_task(batch_of(), corrupted_of())
    np.testing.assert_allclose(
        [tasks[name] for name in ("t2i", "lm", "mmu")], [T2I, LM, MMU], atol=3e-6
    )
    assert loss == pytest.approx(T2I + 0.1 * LM + MMU, abs=5e-6)


def test_gradient_norm_equals_the_reference():
    assert gradient_norm(batch_of(), corrupted_of()) == pytest.approx(26.40899, abs=2e-4)


def test_visible_image_marks_are_in_the_mean():
    """Without <|soi|> and <|eoi|> it would be the mean of the two masked tokens."""
    blind = batch_of(visible_targets=np.zeros((4, 10), bool))
    with_marks = per_task(batch_of(), corrupted_of())[1]["t2i"]
    assert per_task(blind, corrupted_of())[1]["t2i"] == pytest.approx(6.11585, abs=2e-5)
    assert with_marks == pytest.approx(T2I, abs=3e-6)


def test_images_have_no_weight_of_time():
    """Their ratio does not matter to the reference's loss, that of text rows does."""
    other = np.array([0.01, 0.6, 0.5, 0.8], np.float32)
    tasks = per_task(batch_of(), corrupted_of(ratio=other))[1]
    assert tasks["t2i"] == pytest.approx(T2I, abs=3e-6)
    assert tasks["lm"] == pytest.approx(LM / 2, abs=3e-6)


def test_images_of_different_counts_are_pooled():
    """One mean over all counted tokens, not a mean of the rows' means."""
    inputs, tokens = INPUTS.copy(), TOKENS.copy()
    inputs[1], tokens[1] = INPUTS[0], TOKENS[0]
    inputs[1, 7] = TOKENS[0, 7]
    batch = batch_of(tokens=tokens)
    for name in ("maskable", "keys", "visible_targets"):
        batch[name] = batch[name].at[1].set(batch[name][0])

    def image_loss(*task):
        index = jnp.array([TASKS.index(name) for name in task], jnp.int32)
        return per_task({**batch, "task": index}, corrupted_of(inputs))[1]["t2i"]

    first, second = image_loss("t2i", "mmu", "mmu", "mmu"), image_loss("mmu", "t2i", "mmu", "mmu")
    both = image_loss("t2i", "t2i", "mmu", "mmu")
    assert both == pytest.approx((4 * first + 3 * second) / 7, abs=1e-5)
    assert abs(both - (first + second) / 2) > 1e-3


def test_answer_lengths_count_the_padding_that_is_predicted():
    """An answer of six tokens in a text row: the sum over masked tokens / ratio / 6."""
    maskable = np.asarray(batch_of()["maskable"]).copy()
    maskable[1] = [False, True, False, True, True, True, True, False, True, False]
    batch = batch_of(("t2i", "lm_chat", "mmu", "mmu"), maskable=maskable)
    _, tasks = per_task(batch, corrupted_of())
    assert tasks["lm_chat"] == pytest.approx(9.351442, abs=1e-5)
    assert tasks["lm"] == 0.0


def test_dialogue_with_everything_maskable_equals_text():
    batch = batch_of(("t2i", "lm_chat", "mmu", "mmu"))
    assert per_task(batch, corrupted_of())[1]["lm_chat"] == pytest.approx(LM, abs=3e-6)


def test_reasoned_images_have_the_form_of_understanding():
    batch = batch_of(("t2i", "lm", "r2i", "r2i"))
    tasks = per_task(batch, corrupted_of())[1]
    assert (tasks["r2i"], tasks["mmu"]) == (pytest.approx(MMU, abs=3e-6), 0.0)


@pytest.mark.parametrize("absent", ["t2i", "lm", "mmu"])
def test_a_task_without_rows_has_loss_zero_and_takes_nobody_elses_rows(absent):
    """The reference slices `logits[-0:]`, which is the whole batch."""
    names = {"t2i": (1, 2, 3), "lm": (0, 2, 3), "mmu": (0, 1)}[absent]
    keep = np.resize(names, 4)
    batch = {name: value[keep] for name, value in batch_of().items()}
    _, tasks = per_task(batch, corrupted_of(INPUTS[keep], RATIO[keep]))
    assert tasks[absent] == 0.0
    if absent == "mmu":
        assert (tasks["t2i"], tasks["lm"]) == (
            pytest.approx(T2I, abs=3e-6),
            pytest.approx(LM, abs=3e-6),
        )


def test_rows_without_an_answer_give_zero_and_a_finite_gradient():
    batch = batch_of(maskable=np.zeros((4, 10), bool), visible_targets=np.zeros((4, 10), bool))
    clean = corrupted_of(TOKENS, np.full(4, 0.001, np.float32))
    assert per_task(batch, clean)[0] == 0.0
    assert gradient_norm(batch, clean) == 0.0


def test_an_image_row_of_ratio_zero_leaves_the_gradient_finite():
    zero = corrupted_of(ratio=np.array([0, 0.3, 0.5, 0.8], np.float32))
    assert gradient_norm(batch_of(), zero) == pytest.approx(26.40899, abs=2e-4)


def test_only_masked_text_counts_even_where_a_clean_token_is_the_mask_id():
    """The reference takes every mask id for a masked token; here the masks say what counts."""
    inputs, tokens = INPUTS.copy(), TOKENS.copy()
    inputs[1, 5] = tokens[1, 5] = MASK
    marked = corrupted_of(inputs)
    explicit = marked._replace(masked=marked.masked.at[1, 5].set(False))
    literal = per_task(batch_of(tokens=tokens), marked)[1]["lm"]
    masked_only = per_task(batch_of(tokens=tokens), explicit)[1]["lm"]
    assert literal > masked_only + 1.0


def test_rows_in_any_order_give_the_same_losses():
    """The reference needs t2i rows first and mmu rows last."""
    order = [2, 0, 3, 1]
    batch = {name: value[jnp.array(order)] for name, value in batch_of().items()}
    loss, tasks = per_task(batch, corrupted_of(INPUTS[order], RATIO[order]))
    assert loss == pytest.approx(T2I + 0.1 * LM + MMU, abs=5e-6)
    assert tasks["mmu"] == pytest.approx(MMU, abs=3e-6)


def test_the_reference_lets_padding_be_seen_and_bool_mode_does_not():
    other = INPUTS.copy()
    other[0, 0] = 7
    assert abs(per_task(batch_of(), corrupted_of(other))[1]["t2i"] - T2I) > 1e-3

    @jax.jit
    def hidden(corrupted):
        return loss_of(MODEL, PARAMS, batch_of(), corrupted, MaskedDiffusionConfig())[0]

    assert hidden(corrupted_of(other)) == pytest.approx(float(hidden(corrupted_of())), abs=1e-5)

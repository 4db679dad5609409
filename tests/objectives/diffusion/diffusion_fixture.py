"""Four rows of the tiny golden LLaDA, masked already, with the reference's losses for them.

Rows t2i | lm | mmu | mmu of 10 tokens; text length 3, two image tokens between <|soi|> 42 and
<|eoi|> 43, the first place of the t2i row is padding. The expected numbers come from running
`forward_process` of github.com/Gen-Verse/MMaDA, models/modeling_mmada.py, on these inputs.
"""

import jax.numpy as jnp
import numpy as np
from golden_llada import MASK, golden_config, golden_params

from jaxreason.models import Transformer
from jaxreason.objectives.diffusion.corruption import given
from jaxreason.objectives.diffusion.tasks import TASKS

MODEL = Transformer(golden_config())
PARAMS = golden_params()

INPUTS = np.array(
    [
        (50, 40, 3, 41, 42, 59, 21, 59, 23, 43),
        (1, 59, 3, 59, 5, 6, 7, 8, 59, 10),
        (44, 42, 30, 43, 1, 2, 47, 59, 5, 59),
        (44, 42, 30, 43, 1, 47, 59, 59, 4, 50),
    ],
    np.int32,
)
TOKENS = np.array(
    [
        (50, 40, 3, 41, 42, 20, 21, 22, 23, 43),
        (1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
        (44, 42, 30, 43, 1, 2, 47, 4, 5, 50),
        (44, 42, 30, 43, 1, 47, 2, 3, 4, 50),
    ],
    np.int32,
)
RATIO = np.array([0.5, 0.3, 0.5, 0.8], np.float32)


def batch_of(task=("t2i", "lm", "mmu", "mmu"), **changes):
    """The clean rows; answers of 3 and 4 tokens in the understanding rows."""
    places = np.arange(10)
    maskable = np.stack([(places > 4) & (places < 9), places >= 0, places > 6, places > 5])
    keys = np.ones((4, 10), bool)
    keys[0, 0] = False
    visible = np.zeros((4, 10), bool)
    visible[0, [4, 9]] = True
    batch = {
        "tokens": TOKENS,
        "maskable": maskable,
        "keys": keys,
        "visible_targets": visible,
        "task": np.array([TASKS.index(name) for name in task], np.int32),
        **changes,
    }
    return {name: jnp.asarray(value) for name, value in batch.items()}


def corrupted_of(inputs=INPUTS, ratio=RATIO):
    return given(jnp.asarray(inputs), jnp.asarray(ratio), MASK)

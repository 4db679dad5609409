"""MMaDA's own size: 8 B parameters on a pod of 256 chips, with the published stage-4 settings.

    python experiments/mmada/pod_8b.py        # sizes and layouts by arithmetic; trains nothing
    jaxreason train experiments/mmada/pod_8b.py --run runs/mmada/pod_8b       # on the pod

`experiment` trains the 8 B shape on 24x24 mazes with one token per cell, 576 tokens a picture; the
published rows (1,024 image tokens, 512 of text, 134,656 ids) are what `check` looks at. Not run by
us: nothing here is a measured number.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.models.presets import count_parameters, preset
from jaxreason.objectives.diffusion.masked_cross_entropy import masked_diffusion
from jaxreason.sharding.mesh import AXES, BATCH_AXES, MeshConfig
from jaxreason.sharding.rules import TRANSFORMER_RULES, match_rules
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.flops import training_flops_per_token
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.runs import load_module
from jaxreason.training.state import abstract_state

published: Any = load_module(Path(__file__).parent / "published.py")

STAGE = published.released("stage4")
DEVICES = 256
MESH = MeshConfig(replica=1, fsdp=32, tensor=8)
ROWS = 1_280
"""Rows of a step over all devices, as the paper says."""
LOSS_CHUNK = 2_048
"""The logits of one row would be 0.83 GB in float32."""


def model(vocabulary_size: int) -> TransformerConfig:
    """LLaDA-8B's shape, as it is trained on accelerators."""
    return preset("mmada_8b", vocabulary_size, dtype="bfloat16", remat="names")


experiment = MaskedDiffusionExperiment(
    world=MazeWorld(width=24, height=24, count=1_000_000, minimum_path_cells=12),
    model=model(0),
    objective=replace(STAGE.objective(), mask_mode="bool"),
    # ROWS in all.
    rows={"draw_maze": 128, "draw_solution": 256, "read_plan": 256, "read_maze": 128, "plan": 512},
    optimizer=STAGE.optimizer(),
    train=TrainConfig(steps=STAGE.steps, log_every=20, save_every=2_000),
    mesh=MESH,
    held_out=0,
    loss_chunk=LOSS_CHUNK,
)


class Check(NamedTuple):
    """What the pod would hold, in whole numbers and bytes.

    Attributes:
        parameters: of the model.
        row_tokens: length of a row.
        step_tokens: tokens of a step over all devices.
        rows_per_group: rows of a step on the chips that share their rows.
        state_bytes: largest share of the train state (parameters and moments) on one device.
        flops_per_token: of training.
    """

    parameters: int
    row_tokens: int
    step_tokens: int
    rows_per_group: int
    state_bytes: int
    flops_per_token: float


def check(devices: int = DEVICES) -> Check:
    """Sizes of the published stage on the mesh, from abstract shapes alone.

    Raises:
        InputError: a mesh that the devices do not fill.
    """
    transformer = Transformer(model(published.VOCABULARY))
    shape = MESH.shape(devices)
    mesh: Any = AbstractMesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    state = abstract_state(transformer.init, make_optimizer(STAGE.optimizer()))
    placed = match_rules(TRANSFORMER_RULES, state, mesh)
    share = sum(
        math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(placed), strict=True)
        if jnp.issubdtype(leaf.dtype, jnp.number)
    )
    length = STAGE.layout().length
    groups = math.prod(mesh.shape[axis] for axis in BATCH_AXES)
    return Check(
        parameters=count_parameters(state.params),
        row_tokens=length,
        step_tokens=ROWS * length,
        rows_per_group=ROWS // groups,
        state_bytes=share,
        flops_per_token=training_flops_per_token(state.params, length, causal=False),
    )


def abstract_loss() -> Any:
    """Shapes of loss and metrics of one micro-batch of published rows; nothing is computed."""
    rows, length = sum(STAGE.rows), STAGE.layout().length
    shape = (rows, length)
    batch = {
        "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        **{
            name: jax.ShapeDtypeStruct(shape, jnp.bool_)
            for name in ("maskable", "keys", "image", "visible_targets")
        },
        "segments": jax.ShapeDtypeStruct(shape, jnp.int32),
        "task": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }
    transformer = Transformer(model(published.VOCABULARY))
    objective = masked_diffusion(
        transformer,
        mask_id=STAGE.layout().ids.mask,
        config=STAGE.objective(),
        chunk=LOSS_CHUNK,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(objective, jax.eval_shape(transformer.init, key), batch, key)


def _main() -> None:
    found = check()
    print(f"{found.parameters:,} parameters; rows of {found.row_tokens:,} tokens")
    print(f"{found.step_tokens:,} tokens a step, {found.rows_per_group} rows per data shard")
    print(f"{found.state_bytes / 2**30:.2f} GiB of parameters and moments per chip")
    print(f"{found.flops_per_token * found.step_tokens / 1e18:.1f} EFLOP a step")
    print("loss:", abstract_loss()[0])


if __name__ == "__main__":
    _main()

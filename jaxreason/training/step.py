"""One training step for every objective: gradients, accumulation, update, non-finite guard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.errors import InputError
from jaxreason.masks import apply_updates
from jaxreason.sharding.mesh import BATCH_AXES, batch_sharding
from jaxreason.sharding.placement import data_share, place_batch
from jaxreason.sharding.rules import TRANSFORMER_RULES, Rule, match_rules
from jaxreason.training.state import TrainState
from jaxreason.types import Batch, Metrics, Objective


def _gradients(objective: Objective, params: Any, batch: Batch, key: jax.Array, parts: int) -> Any:
    """Gradient of the mean loss over all counted targets, and the metrics summed."""
    if parts == 1:
        (_, metrics), gradients = jax.value_and_grad(objective, has_aux=True)(params, batch, key)
        return gradients, metrics

    def loss_sum(params: Any, rows: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        loss, metrics = objective(params, rows, key)
        # The mean times its count is the sum, whose gradients add up exactly over micro-batches
        # that hold different numbers of targets.
        return loss * jax.lax.stop_gradient(metrics["loss"][1]), metrics

    def add(total: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        rows, index = part
        keyed = jax.random.fold_in(key, index)
        (_, metrics), gradients = jax.value_and_grad(loss_sum, has_aux=True)(params, rows, keyed)
        return jax.tree.map(jnp.add, total, (gradients, metrics)), None

    # Micro-batch i takes rows i, i + parts, ...: every device keeps the rows it already has.
    split = jax.tree.map(
        lambda x: x.reshape(x.shape[0] // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch
    )
    first = jax.tree.map(lambda x: x[0], split)
    metric_shapes = jax.eval_shape(objective, params, first, key)[1]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (params, metric_shapes))
    (gradients, metrics), _ = jax.lax.scan(add, zeros, (split, jnp.arange(parts)))
    count = metrics["loss"][1]
    scale = jnp.where(count > 0, 1 / jnp.maximum(count, 1), 0)
    return jax.tree.map(lambda x: x * scale.astype(x.dtype), gradients), metrics


def _advance(
    state: TrainState,
    batch: Batch,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    parts: int,
) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(state.key, state.step)
    gradients, metrics = _gradients(objective, state.params, batch, key, parts)
    norm = optax.global_norm(gradients)
    finite = jnp.isfinite(norm) & jnp.isfinite(metrics["loss"][0])

    updates, optimizer_state = optimizer.update(gradients, state.optimizer_state, state.params)
    params = apply_updates(state.params, updates)
    params, optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old),
        (params, optimizer_state),
        (state.params, state.optimizer_state),
    )
    bad = jnp.where(finite, 0, 1)
    consecutive = jnp.where(finite, 0, state.consecutive_skipped + 1)

    one = jnp.ones((), jnp.float32)
    metrics = {**metrics, "gradient_norm": (norm, one)}
    # A skipped step counts nothing, so that its NaN does not hide the other steps of a log line.
    metrics = jax.tree.map(lambda x: jnp.where(finite, x, jnp.zeros_like(x)), metrics)
    metrics["skipped"] = (bad.astype(jnp.float32), one)
    metrics["consecutive_skipped"] = (consecutive.astype(jnp.float32), one)
    if "tokens" not in metrics:
        # Where there are several processes, each host knows only its own rows; on one too, so that
        # the program does not depend on how many there are.
        metrics["tokens"] = (_tokens(batch), one)
    state = TrainState(
        step=state.step + 1,
        params=params,
        optimizer_state=optimizer_state,
        key=state.key,
        skipped=state.skipped + bad,
        consecutive_skipped=consecutive,
    )
    return state, metrics


def _tokens(batch: Batch) -> jax.Array:
    """Tokens in a batch, padding left out where `segments` says what is padding."""
    if "segments" in batch:
        return jnp.count_nonzero(batch["segments"])
    if "tokens" in batch:
        return jnp.int32(batch["tokens"].size)
    # As on the host: where there are no tokens, a row counts as one.
    return jnp.int32(next(iter(batch.values())).shape[0])


@dataclass(frozen=True)
class Step:
    """`state, metrics = step(state, batch)`; the state given is donated and must not be used again.

    One program is compiled for each set of batch shapes, ahead of its first call; any other change
    of shape or layout is an error instead of a silent second compilation.
    """

    advance: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
    mesh: Mesh | None
    rules: Sequence[Rule]
    accumulation: int
    programs: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Run one step; `batch` holds numpy arrays (this share's rows) or placed arrays."""
        program = self.programs.get(self._shapes(batch))
        if program is None:
            program = self.compile(state, batch)
        if any(isinstance(x, np.ndarray) for x in batch.values()):
            batch = place_batch(batch, self.mesh)
        return program(state, batch)

    def is_compiled(self, batch: Batch) -> bool:
        """Whether batches of these shapes have their program already."""
        return self._shapes(batch) in self.programs

    def compile(self, state: TrainState, batch: Batch) -> Any:
        """The `jax.stages.Compiled` program for these shapes, compiled now if it was not yet.

        Raises:
            InputError: the rows of the batch cannot be split over mesh and micro-batches.
        """
        key = self._shapes(batch)
        if key not in self.programs:
            self._check_rows(batch)
            self.programs[key] = self.lower(state, batch).compile()
        return self.programs[key]

    def lower(self, state: TrainState, batch: Batch) -> Any:
        """The `jax.stages.Lowered` program, for looking at memory and collectives.

        State and batch may be shapes; those of numpy arrays are of this share, others are global.
        """
        state_shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
        if self.mesh is None:
            return jax.jit(self.advance, donate_argnums=0).lower(state, batch)
        batch_shapes = {
            name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in self._shapes(batch)
        }
        state_shardings = match_rules(self.rules, state_shapes, self.mesh)
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        program = jax.jit(
            self.advance,
            in_shardings=(state_shardings, batch_sharding(self.mesh)),
            out_shardings=(state_shardings, everywhere),
            donate_argnums=0,
        )
        with jax.set_mesh(self.mesh):
            return program.lower(state_shapes, batch_shapes)

    def _check_rows(self, batch: Batch) -> None:
        rows = {name: shape[0] for name, shape, _ in self._shapes(batch)}
        if len(set(rows.values())) != 1:
            raise InputError(f"the arrays of a batch differ in rows: {rows}")
        ways = 1 if self.mesh is None else int(np.prod([self.mesh.shape[a] for a in BATCH_AXES]))
        count = next(iter(rows.values()))
        if count % (ways * self.accumulation):
            raise InputError(
                f"batch of {count} rows is not divisible by accumulation={self.accumulation} "
                f"x mesh axes replica x fsdp={ways}; change the batch size or the mesh"
            )

    def _shapes(self, batch: Batch) -> Any:
        """(name, global shape, dtype) of every array."""
        shares = data_share(self.mesh).count

        def rows(x: Any) -> int:
            return x.shape[0] * (shares if isinstance(x, np.ndarray) else 1)

        return tuple((name, (rows(x), *x.shape[1:]), x.dtype) for name, x in batch.items())


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    mesh: Mesh | None = None,
    rules: Sequence[Rule] = TRANSFORMER_RULES,
    accumulation: int = 1,
) -> Step:
    """The training step of an objective under an optimizer.

    Step n draws its randomness from `fold_in(state.key, n)`, micro-batch i of it from
    `fold_in(that, i)`. With accumulation the gradient equals that of the whole batch to rounding,
    however targets are spread over micro-batches. If loss or gradient is not finite, parameters
    and optimizer state stay as they were and `skipped` counts it; nothing waits for the host.

    Args:
        objective: `(params, batch, key) -> (loss, metrics)`, see `jaxreason.types.Objective`.
        optimizer: any optax transformation; masks are chained into it.
        mesh: devices to split over; None for one device.
        rules: where each leaf of the state lives on the mesh.
        accumulation: micro-batches per step; must divide the rows of a batch.

    Returns:
        A `Step`. Its metrics are the objective's, and `gradient_norm` (before clipping), `skipped`,
        `consecutive_skipped` and `tokens` of the batch, padding left out.
    """
    if accumulation < 1:
        raise InputError(f"accumulation={accumulation}: expected at least 1")

    def advance(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        return _advance(state, batch, objective, optimizer, accumulation)

    return Step(advance, mesh, tuple(rules), accumulation)

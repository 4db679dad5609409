"""One measurement on an accelerator: a training step or a decoding step of random weights.

Every case is plain JSON, so that `gpu.py` runs each in a process of its own: what one case
allocated or set is gone before the next.
"""

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpu_profile import largest_costs

from jaxreason.models import AttentionSpec, Transformer, count_parameters, preset
from jaxreason.objectives import next_token
from jaxreason.objectives.diffusion.masked_cross_entropy import masked_diffusion
from jaxreason.objectives.next_token import token_losses
from jaxreason.sampling import autoregressive
from jaxreason.training.flops import device_peak, training_flops_per_token
from jaxreason.training.precision import in_float32
from jaxreason.training.state import state_from_params
from jaxreason.training.step import make_step
from jaxreason.types import Batch, Objective, Params

CUDNN_CALL = "__cudnn$fmha"
"""What the custom calls of cuDNN's fused attention are called in optimised HLO."""

BANDWIDTH = {"h200": 4.8e12, "h100": 3.35e12, "a100": 2.039e12, "b200": 8.0e12}
"""Bytes/s of the memory, from NVIDIA's data sheets (SXM modules), by part of `device_kind`."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        name: of the variant.
        kind: "training" or "decoding".
        model: a preset.
        vocabulary: number of tokens; None takes the preset's own.
        changes: fields of the model's configuration.
        batch: rows.
        length: tokens per row; of the prompt in decoding.
        new_tokens: tokens decoded.
        chunk: tokens whose logits exist at once; 0 computes all together.
        segments: rows are marked as packed examples, which needs a mask; training is causal
            without.
        params_dtype: of the stored parameters.
        xla_flags: what `XLA_FLAGS` has to hold before the process starts.
        cudnn: refuse a program without cuDNN's attention.
        rounds: steps measured, after three that are not.
        profile: name the kernels that take most of a step.
        peer: time torch's step beside it.
    """

    name: str
    kind: str = "training"
    model: str = "qwen2_0_5b"
    vocabulary: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    batch: int = 8
    length: int = 4096
    new_tokens: int = 128
    chunk: int = 4096
    segments: bool = False
    params_dtype: str = "float32"
    xla_flags: tuple[str, ...] = ()
    cudnn: bool = True
    rounds: int = 10
    profile: bool = False
    peer: bool = False


class NoCudnnError(RuntimeError):
    """The program has no cuDNN attention, so its figures would be of something else."""


def check_cudnn(text: str) -> int:
    """The number of cuDNN attention calls in optimised HLO.

    Raises:
        NoCudnnError: there is none.
    """
    found = text.count(f'custom_call_target="{CUDNN_CALL}')
    if not found:
        raise NoCudnnError(
            f"the compiled step has no {CUDNN_CALL} call: attention would run as plain XLA; use "
            "bfloat16, an even length and head sizes up to 128, and a jax with CUDA"
        )
    return found


def causal_objective(model: Transformer, chunk: int | None) -> Objective:
    """Next-token loss on whole rows, causality told to the kernel as such: no mask exists."""

    def objective(params: Params, batch: Batch, key: jax.Array) -> Any:
        del key
        spec = AttentionSpec(kind="causal")
        hidden, _ = model.apply(params, batch["tokens"], batch["positions"], spec)
        targets = jnp.roll(batch["tokens"], -1, axis=1)
        losses, _ = token_losses(model, params, hidden, targets, chunk)
        counted = batch["targets_mask"].astype(jnp.float32).at[:, -1].set(0)
        total, count = jnp.sum(losses * counted), counted.sum()
        return total / count, {"loss": (total, count)}

    return objective


def objective_of(case: Case, model: Transformer) -> Objective:
    """Masked diffusion for bidirectional models, otherwise the next token."""
    chunk = case.chunk or None
    if model.config.attention == "bidirectional":
        mask_id = model.config.vocabulary_size - 1
        return masked_diffusion(model, mask_id=mask_id, chunk=chunk)
    return next_token(model, chunk) if case.segments else causal_objective(model, chunk)


def batch_of(case: Case, model: Transformer) -> dict[str, Any]:
    """Random tokens; for diffusion, rows whose second half is to be learned."""
    shape = case.batch, case.length
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, model.config.vocabulary_size - 1, shape, dtype=np.int32)
    ones = np.ones(shape, bool)
    if model.config.attention == "bidirectional":
        maskable = np.broadcast_to(np.arange(case.length) >= case.length // 2, shape)
        return {
            "tokens": tokens,
            "keys": ones,
            "maskable": maskable.copy(),
            "visible_targets": np.zeros(shape, bool),
            "segments": ones.astype(np.int32),
            "task": np.zeros(case.batch, np.int32),
        }
    return {
        "tokens": tokens,
        "targets_mask": ones,
        "segments": ones.astype(np.int32),
        "positions": np.broadcast_to(np.arange(case.length, dtype=np.int32), shape).copy(),
    }


def initial(case: Case, model: Transformer) -> Params:
    """Random parameters in the case's dtype, made on the device."""

    def init(key: jax.Array) -> Params:
        return jax.tree.map(lambda x: x.astype(case.params_dtype), model.init(key))

    return jax.jit(init)(jax.random.key(0))


def bandwidth() -> float | None:
    """Of the device's memory by its data sheet; None where it is not known."""
    kind = jax.devices()[0].device_kind.lower()
    return next((value for part, value in BANDWIDTH.items() if part in kind), None)


def measured_bandwidth(size: int) -> float:
    """Bytes/s that reading and writing an array of `size` bytes reaches here."""
    array = jnp.zeros(size // 4, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jax.block_until_ready(add(array))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        array = jax.block_until_ready(add(array))
        seconds.append(time.perf_counter() - start)
    return 2 * array.nbytes / statistics.median(seconds)


def optimizer_of(case: Case) -> optax.GradientTransformation:
    """AdamW; of bfloat16 parameters with float32 moments, as in `training.post_training`."""
    optimizer = optax.adamw(1e-5, b2=0.95)
    return in_float32(optimizer) if case.params_dtype == "bfloat16" else optimizer


def training(case: Case) -> dict[str, Any]:
    """Seconds per step, tokens per second, MFU and memory of a training step."""
    model = Transformer(preset(case.model, case.vocabulary, **case.changes))
    params = initial(case, model)
    optimizer = optimizer_of(case)
    step = make_step(objective_of(case, model), optimizer)
    state = state_from_params(params, optimizer, jax.random.key(0), None)
    count = count_parameters(params)
    del params
    batch = jax.device_put(batch_of(case, model))
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compiling = time.perf_counter() - start
    calls = check_cudnn(compiled.as_text()) if case.cudnn else None
    seconds = []
    for _ in range(case.rounds + 3):
        start = time.perf_counter()
        state, metrics = compiled(state, batch)
        loss = float(metrics["loss"][0] / metrics["loss"][1])
        seconds.append(time.perf_counter() - start)
    held = [state]

    def once() -> Any:
        held[0], metrics = compiled(held[0], batch)
        return metrics

    costs = largest_costs(once) if case.profile else []
    state, middle = held[0], statistics.median(seconds[3:])
    tokens = case.batch * case.length
    causal = model.config.attention == "causal"
    flops = training_flops_per_token(state.params, case.length, causal=causal) * tokens
    peak = device_peak(jax.devices()[0].device_kind)
    memory = compiled.memory_analysis()
    return {
        "parameters": count,
        "seconds_per_step": middle,
        "tokens_per_second": tokens / middle,
        "model_flops_per_second": flops / middle,
        "mfu": None if peak is None else flops / middle / peak,
        "compile_seconds": compiling,
        "cudnn_calls": calls,
        "state_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "loss": loss,
        "largest_costs": costs,
    }


def decoding(case: Case) -> dict[str, Any]:
    """Tokens per second of decoding steps, and the bound that memory bandwidth sets.

    The time of the prompt is taken out: a long and a short run are subtracted.
    """
    model = Transformer(preset(case.model, case.vocabulary, **case.changes))
    params = initial(case, model)
    draw = np.random.default_rng(0)
    shape = case.batch, case.length
    tokens = draw.integers(0, model.config.vocabulary_size, shape, dtype=np.int32)
    prompts = {"tokens": tokens, "lengths": np.full(case.batch, case.length, np.int32)}
    prompts = jax.device_put(prompts)
    medians = {}
    short = max(case.new_tokens // 4, 1)
    for new in (short, case.new_tokens):
        sampler = autoregressive(model, max_new_tokens=new, eos=0, pad=1, temperature=0.0)
        seconds = []
        for _ in range(case.rounds + 1):
            start = time.perf_counter()
            found = jax.block_until_ready(sampler(params, prompts, jax.random.key(0)))
            seconds.append(time.perf_counter() - start)
        if int(found.lengths.max()) < new:
            raise RuntimeError(f"all rows ended before {new} tokens: no step's time can be told")
        medians[new] = statistics.median(seconds[1:])
    spent = medians[case.new_tokens] - medians[short]
    # Where noise is larger than the steps there is no figure; it happens at the size of a test.
    per_step = spent / (case.new_tokens - short) if spent > 0 else None
    read = bytes_per_step(case, model, params, case.length + (short + case.new_tokens) / 2)
    sheet = bandwidth()
    bound = None if sheet is None else read / sheet
    return {
        "parameters": count_parameters(params),
        "seconds_per_step": per_step,
        "tokens_per_second": None if per_step is None else case.batch / per_step,
        "bytes_per_step": read,
        "measured_bandwidth": measured_bandwidth(2**30 if case.cudnn else 2**22),
        "bound_tokens_per_second": None if bound is None else case.batch / bound,
        "times_slower_than_bound": per_step / bound if per_step and bound else None,
    }


def bytes_per_step(case: Case, model: Transformer, params: Params, length: float) -> float:
    """Bytes a decoding step must read: every parameter once, and keys and values of all rows.

    An embedding that is no output head is looked up, not read; it is left out.
    """
    config = model.config
    weights = sum(x.nbytes for x in jax.tree.leaves(params))
    if not config.tied:
        weights -= params["embedding"].nbytes
    each = 2 * config.layers * config.kv_heads * config.head_size * jnp.dtype(config.dtype).itemsize
    return weights + case.batch * length * each


def measure_case(document: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a case given as JSON.

    Raises:
        RuntimeError: the process was not started with the case's XLA flags.
    """
    case = Case(**{**document, "xla_flags": tuple(document["xla_flags"])})
    absent = set(case.xla_flags) - set(os.environ.get("XLA_FLAGS", "").split())
    if absent:
        raise RuntimeError(f"XLA_FLAGS lacks {' '.join(sorted(absent))}")
    found = training(case) if case.kind == "training" else decoding(case)
    return {"case": asdict(case), "device": jax.devices()[0].device_kind, **found}

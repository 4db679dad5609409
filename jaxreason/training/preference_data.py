"""The data of a preference run: drawn and judged once, scored by the reference, kept in a file."""

import dataclasses
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxreason.errors import InputError
from jaxreason.models import Transformer
from jaxreason.objectives.pairs import SEQUENCES, check_preferences, pair_scores
from jaxreason.paths import as_path
from jaxreason.sampling import autoregressive
from jaxreason.sharding.mesh import BATCH_AXES
from jaxreason.sharding.placement import agree, place_everywhere, to_host
from jaxreason.training import completions
from jaxreason.training.checkpoint import checkpoint_steps
from jaxreason.training.completions import Completed, SamplingConfig
from jaxreason.training.fingerprint import fingerprint
from jaxreason.training.rollouts import RolloutConfig, RolloutSource
from jaxreason.training.runs import Run
from jaxreason.training.state import place_params
from jaxreason.training.stored_batches import Arrays, read_arrays, write_arrays
from jaxreason.types import Batch, Params


@dataclass(frozen=True)
class Preparation:
    """What to make of the base's completions.

    Attributes:
        rows: "pairs", "labelled" (single completions, each with a mismatched one), "kept" (right
            samples) or "shown" (solutions of the data).
        reference: whether to store reference log-probabilities.
        pairs: "on_policy" or "off_policy".
        per_problem: pairs of a problem, at most.
        keep: see `completions.keepers`.
        sampling: which completions are drawn.
        samples_from: run directory whose completions are taken instead of drawing them again.
        score_rows: rows scored by the reference at once.
        chunk: tokens whose logits exist at once; None computes all logits together.
    """

    rows: str
    reference: bool
    pairs: str
    per_problem: int
    keep: str
    sampling: SamplingConfig
    samples_from: str | None
    score_rows: int
    chunk: int | None


class Prepared(NamedTuple):
    """A data set, ready to train on.

    Attributes:
        arrays: `tokens, targets_mask, segments, positions` [rows, 2, T], or [rows, T] for
            supervised training; `reference_log_probabilities` [rows, 2]; `desirable` [rows].
        summary: how many problems, samples and examples, and the share of right samples.
        max_new_tokens: the limit of a completion that was in force.
    """

    arrays: Arrays
    summary: dict[str, Any]
    max_new_tokens: int


def prepare(
    path: Path,
    preparation: Preparation,
    base: Run,
    params: Params,
    source: Any,
    mesh: Mesh | None,
    say: Callable[[str], None],
) -> Prepared:
    """The data kept in `path`, made first if they are not there, or were made otherwise.

    Several processes make them together, all hold all of them, and the first writes the file.

    Args:
        path: the .npz file.
        preparation: what to make.
        base: the run whose model is sampled from, as it was trained.
        params: the frozen reference: what training starts from.
        source: the problems; `[i]`, `problem(i)` and `vocabulary`.
        mesh: devices to split over; None for one.
        say: told what is going on.

    Raises:
        InputError: the completions give no example, or the run was begun on data made otherwise.
        FailureError: the file is damaged or cannot be written.
    """
    wanted = json.loads(
        json.dumps(
            {
                "preparation": dataclasses.asdict(preparation),
                "problems": getattr(source, "identity", None),
                "base": fingerprint(base.params),
                "reference": [str(x.dtype) for x in jax.tree.leaves(params)],
            }
        )
    )
    # Process 0 says whether the file is there: it may be writing it while others still look.
    if agree(path.exists())[0]:
        arrays, about = read_arrays(path)
        if about["identity"] == wanted:
            return Prepared(arrays, about["summary"], about["max_new_tokens"])
        if checkpoint_steps(path.parent):
            differing = [n for n in wanted if about["identity"].get(n) != wanted[n]]
            raise InputError(
                f"{path} was made with another {', '.join(differing)}, and the run has checkpoints "
                "of training on it; restore the base as it was then, or start a new run"
            )
    arrays, summary, limit = _make(path.parent, preparation, base, source, mesh, say)
    if preparation.reference:
        say(f"scoring {len(arrays['tokens'])} examples with the reference")
        score_rows, chunk = preparation.score_rows, preparation.chunk
        scores = reference_log_probabilities(base.model, params, arrays, score_rows, chunk, mesh)
        arrays["reference_log_probabilities"] = scores
    if arrays["tokens"].ndim == 3:
        labels = preparation.rows == "labelled"
        check_preferences(arrays, reference=preparation.reference, labels=labels)
    about = {"identity": wanted, "summary": summary, "max_new_tokens": limit}
    if jax.process_index() == 0:
        write_arrays(path, arrays, about)
    return Prepared(arrays, summary, limit)


def _make(
    run: Path,
    preparation: Preparation,
    base: Run,
    source: Any,
    mesh: Mesh | None,
    say: Callable[[str], None],
) -> tuple[Arrays, dict[str, Any], int]:
    """The sequences, a summary, and the limit of a completion."""
    config = preparation.sampling
    shown = completions.solutions(source, config.problems)
    longest = max(one.tokens.size - one.prompt_length for one in shown)
    limit = config.max_new_tokens or longest
    pad = source.vocabulary.pad
    summary: dict[str, Any] = {"problems": config.problems}
    if preparation.rows == "shown":
        examples = [(one,) for one in shown]
    else:
        samples = _drawn_once(run, preparation, limit, base, source, mesh, say)
        flat = [one for drawn in samples for one in drawn]
        summary["samples"] = len(flat)
        summary["right"] = sum(one.right for one in flat) / len(flat)
        examples = _choose(preparation, samples, shown)
    summary["examples"] = len(examples)
    if not examples:
        raise InputError(_nothing(preparation, summary["right"]))
    say(", ".join(f"{name} {value}" for name, value in summary.items()))
    arrays = completions.lay_out(examples, pad)
    if preparation.rows in ("kept", "shown"):
        return {name: array[:, 0] for name, array in arrays.items()}, summary, limit
    if preparation.rows == "labelled":
        arrays["desirable"] = np.array([row[0].right for row in examples])
        if arrays["desirable"].all() or not arrays["desirable"].any():
            raise InputError(_nothing(preparation, summary["right"]))
    return arrays, summary, limit


def _drawn_once(
    run: Path,
    preparation: Preparation,
    limit: int,
    base: Run,
    source: Any,
    mesh: Mesh | None,
    say: Callable[[str], None],
) -> list[list[Completed]]:
    """The completions in samples.npz, of the run or of the one named; else drawn and kept there."""
    config = preparation.sampling
    identity = json.loads(json.dumps(dataclasses.asdict(config))) | {
        "max_new_tokens": limit,
        "data": json.loads(json.dumps(getattr(source, "identity", None))),
        "base": fingerprint(base.params),
    }
    path = as_path(preparation.samples_from or run) / "samples.npz"
    if agree(path.exists())[0]:
        arrays, about = read_arrays(path)
        differing = [name for name in identity if about.get(name) != identity[name]]
        if not differing:
            return completions.unpack(arrays)
        if preparation.samples_from is not None:
            raise InputError(
                f"samples_from is {preparation.samples_from!r}, whose completions were drawn with "
                f"another {', '.join(differing)}; use the same values, or draw new ones"
            )
    elif preparation.samples_from is not None:
        raise InputError(
            f"samples_from is {preparation.samples_from!r}, which has no samples.npz; expected "
            "the directory of a run that drew completions"
        )
    say(f"drawing {config.samples} completions of each of {config.problems} problems")
    samples = _draw(config, limit, base, source, mesh)
    if jax.process_index() == 0:
        write_arrays(path, completions.pack(samples), identity)
    return samples


def _choose(
    preparation: Preparation, samples: list[list[Completed]], shown: list[Completed]
) -> list[Any]:
    seed = preparation.sampling.seed
    if preparation.rows == "kept":
        return [(one,) for one in completions.keepers(samples, preparation.keep, seed)]
    if preparation.rows == "labelled":
        return completions.mismatched_pairs(samples, seed)
    if preparation.pairs == "off_policy":
        return completions.off_policy_pairs(samples, shown, preparation.per_problem, seed)
    return completions.on_policy_pairs(samples, preparation.per_problem, seed)


def _nothing(preparation: Preparation, right: float) -> str:
    needed = {
        "kept": "a right sample is needed",
        "labelled": "right and wrong samples are needed",
        "pairs": "a right and a wrong sample of one problem are needed",
    }[preparation.rows]
    if preparation.pairs == "off_policy":
        needed = "a wrong sample is needed"
    return (
        f"{100 * right:.1f} % of the samples are right, and {needed}; change sampling.problems, "
        "sampling.samples or sampling.temperature, or take another base"
    )


def _draw(
    config: SamplingConfig, limit: int, base: Run, source: Any, mesh: Mesh | None
) -> list[list[Completed]]:
    """Judged completions by problem, drawn from the base as it was trained."""
    ways = 1 if mesh is None else int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))
    batch = ways * -(-min(config.batch, config.problems) // ways)
    vocabulary = source.vocabulary
    sampler = autoregressive(
        base.model,
        max_new_tokens=limit,
        eos=vocabulary.eos,
        pad=vocabulary.pad,
        temperature=config.temperature,
        top_k=config.top_k or None,
        top_p=config.top_p,
        samples=config.samples,
    )
    rollouts = RolloutSource(
        RolloutConfig(prompts=batch, group=config.samples, max_new_tokens=limit),
        sampler,
        base.experiment.reward,
        source.problem,
        vocabulary,
        mesh,
        lambda part: nullcontext(),
    )
    placed = place_params(base.params, mesh)
    return completions.draw_completions(rollouts.draw, placed, config, batch)


def reference_log_probabilities(
    model: Transformer,
    params: Params,
    arrays: Arrays,
    score_rows: int,
    chunk: int | None,
    mesh: Mesh | None,
) -> np.ndarray:
    """[rows, 2] float32: sums over the completions' tokens, `score_rows` rows at a time."""
    ways = 1 if mesh is None else int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))
    at_once = ways * -(-min(score_rows, len(arrays["tokens"])) // ways)

    @jax.jit
    def score(params: Params, batch: Batch) -> jax.Array:
        return pair_scores(model, params, batch, chunk).log_probabilities

    placed = place_params(params, mesh)
    found = []
    for first in range(0, len(arrays["tokens"]), at_once):
        last = len(arrays["tokens"]) - 1
        rows = np.minimum(np.arange(first, first + at_once), last)
        batch = place_everywhere({name: arrays[name][rows] for name in SEQUENCES}, mesh)
        with nullcontext() if mesh is None else jax.set_mesh(mesh):
            found.append(to_host(score(placed, batch)))
    return np.concatenate(found)[: len(arrays["tokens"])].astype(np.float32)

"""One token at a time against masked diffusion: the same mazes, transformer and training tokens.

    python experiments/mmada/autoregressive.py             # about 15 minutes on two CPU cores
    python experiments/mmada/autoregressive.py --quick     # toy sizes; the numbers mean nothing

Both models read the same rows (a map in words, then the plan) for the same number of steps, with
the same transformer but for who attends to whom. The causal one learns the next token of the
answer; the other one the masked tokens of the answer, its padding included. Judged greedily on the
same held-out mazes: valid plans with standard errors, and tokens per second of the decoders (the
end token counts, padding does not). Runs are kept in runs/mmada/autoregressive and go on where they
stopped; the table is written to results/autoregressive.md and .json beside this file.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.data.multimodal.mixing import mixed_batches
from jaxreason.evaluation.diffusion.stage_table import Measured, measured
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.objectives import next_token
from jaxreason.sampling import autoregressive
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.cache import enable_compilation_cache
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.held_out import Judge
from jaxreason.training.files import write_atomically
from jaxreason.training.loop import TrainConfig, train
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.runs import load_run

_HERE = Path(__file__).parent
TASK = "plan"


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        experiment: the diffusion model's training; the causal one takes over all but the attention.
        seeds: of parameters and data order; one pair of models each.
        mazes: held-out mazes that are judged.
        batch: mazes decoded together.
        root: folder of the runs.
        results: folder of the table.
    """

    experiment: MaskedDiffusionExperiment
    seeds: tuple[int, ...]
    mazes: int
    batch: int
    root: Path
    results: Path

    def seeded(self, seed: int) -> MaskedDiffusionExperiment:
        """The diffusion experiment with one seed."""
        e = self.experiment
        return replace(e, train=replace(e.train, seed=seed))

    def decoders(self) -> dict[str, DecodingConfig]:
        """How the diffusion model is decoded, by name."""
        base = self.experiment.decoding
        return {
            "diffusion, a token per step": base,
            "diffusion, threshold 0.9": replace(base, threshold=0.9),
            "diffusion, 4 tokens per step": replace(base, tokens_per_step=4),
        }


class CausalBatches:
    """Rows of masked-diffusion batches as next-token batches: the answer and its end are learned.

    Args:
        batches: what `mixed_batches` gives.
        eos: the end token, which also fills up the rows.
    """

    def __init__(self, batches: Any, eos: int) -> None:
        self._batches, self._eos = batches, eos

    def __iter__(self) -> "_CausalIterator":
        return _CausalIterator(iter(self._batches), self._eos)


class _CausalIterator:
    def __init__(self, inner: Any, eos: int) -> None:
        self._inner, self._eos = inner, eos

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._inner)
        ends = (batch["tokens"] == self._eos) & batch["maskable"]
        targets = batch["maskable"] & (np.cumsum(ends, axis=1) - ends == 0)
        rows, length = targets.shape
        return {
            "tokens": batch["tokens"],
            "targets_mask": targets,
            # Padding counts as tokens of the row, as it does for the other model.
            "segments": np.ones((rows, length), np.int32),
            "positions": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
        }

    def get_state(self) -> Any:
        """Position in the data, plain JSON."""
        return self._inner.get_state()

    def set_state(self, state: Any) -> None:
        """Go on from a position."""
        self._inner.set_state(state)


def causal_model(experiment: MaskedDiffusionExperiment) -> Transformer:
    """The same transformer, attending backwards only."""
    config = experiment.transformer().config
    return Transformer(replace(config, attention="causal"))


def train_causal(experiment: MaskedDiffusionExperiment, directory: Path) -> Any:
    """Next-token training on the experiment's rows; returns the parameters."""
    model, vocabulary = causal_model(experiment), experiment.vocabulary()
    batches = mixed_batches(
        experiment.source(), rows_per_task=experiment.rows, seed=experiment.train.seed
    )
    result = train(
        directory,
        objective=next_token(model, experiment.loss_chunk or None),
        model_init=model.init,
        optimizer_config=experiment.optimizer,
        train_config=experiment.train,
        batches=CausalBatches(batches, vocabulary.eos),
        config_json={"kind": "causal_twin", **dataclasses.asdict(experiment)},
        progress=True,
    )
    return result.state.params


def judge_causal(comparison: Comparison, model: Transformer, params: Any) -> dict[str, Any]:
    """Greedy plans of the causal model on the held-out mazes, and its rate."""
    e = comparison.experiment
    vocabulary = e.vocabulary()
    judge = Judge(e, e.transformer(), mazes=comparison.mazes, batch=comparison.batch)
    sampler = autoregressive(
        model,
        max_new_tokens=judge.answer_length(TASK),
        eos=vocabulary.eos,
        pad=vocabulary.pad,
        temperature=0.0,
    )
    return judged(judge, sampler, params)


def judge_diffusion(
    comparison: Comparison, decoding: DecodingConfig, model: Transformer, params: Any
) -> dict[str, Any]:
    """Greedy plans of the diffusion model, decoded in one way, and its rate."""
    e = replace(comparison.experiment, decoding=decoding)
    judge = Judge(e, model, mazes=comparison.mazes, batch=comparison.batch)
    return judged(judge, judge.text_sampler(TASK), params)


def judged(judge: Judge, sampler: Any, params: Any) -> dict[str, Any]:
    """Verdicts on all mazes and tokens per second, compilation left out."""
    judge.answer(params, TASK, sampler=sampler, mazes=judge.batch)  # compiles
    began = time.perf_counter()
    answered = judge.answer(params, TASK, sampler=sampler)
    seconds = time.perf_counter() - began
    tokens = int(answered.words.lengths.sum())
    valid = np.asarray(answered.judgement.values, np.float64)
    return {"valid": valid, "tokens": tokens, "seconds": seconds}


def run(comparison: Comparison) -> dict[str, Any]:
    """Train what is missing, judge everything, write the table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in comparison.seeds:
        e = comparison.seeded(seed)
        causal = train_causal(e, comparison.root / f"causal-{seed}")
        row = judge_causal(comparison, causal_model(e), causal)
        found.setdefault("autoregressive", []).append(row)
        directory = comparison.root / f"diffusion-{seed}"
        e.run(directory)
        trained = load_run(directory)
        for name, decoding in comparison.decoders().items():
            row = judge_diffusion(comparison, decoding, trained.model, trained.params)
            found.setdefault(name, []).append(row)
    document = as_document(comparison, found)
    text = as_text(document)
    comparison.results.mkdir(parents=True, exist_ok=True)
    write_atomically(comparison.results / "autoregressive.md", text)
    write_atomically(
        comparison.results / "autoregressive.json", json.dumps(document, indent=2) + "\n"
    )
    print(text)
    return document


def pooled(rows: Sequence[Mapping[str, Any]]) -> Measured:
    """Mean over seeds; with several, the error is that of the seeds' means."""
    values = [row["valid"] for row in rows]
    if len(values) == 1:
        found = measured(values[0])
    else:
        # Seeds are judged on the same mazes, so mazes are no further independent tries.
        found = measured([float(v.mean()) for v in values])
        across = measured(np.mean(values, axis=0))
        assert found is not None
        assert across is not None
        error = float(np.hypot(found.standard_error, across.standard_error))
        found = Measured(found.value, error, sum(v.size for v in values))
    assert found is not None
    return found


def as_document(comparison: Comparison, found: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers as plain JSON."""
    e = comparison.experiment
    rows = {}
    for name, seeds in found.items():
        seconds, tokens = (sum(row[key] for row in seeds) for key in ("seconds", "tokens"))
        rows[name] = {
            "valid": pooled(seeds)._asdict(),
            "by_seed": [float(row["valid"].mean()) for row in seeds],
            "tokens_per_second": tokens / seconds,
            "mazes_per_second": len(seeds) * comparison.mazes / seconds,
        }
    row_tokens = e.source().layout.length * e.batch_rows()
    return {
        "steps": e.train.steps,
        "training_tokens": e.train.steps * row_tokens,
        "seeds": list(comparison.seeds),
        "mazes": comparison.mazes,
        "batch": comparison.batch,
        "device": jax.devices()[0].device_kind,
        "rows": rows,
    }


def as_text(document: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        f"{document['training_tokens'] / 1e6:.1f} M training tokens each, "
        f"{len(document['seeds'])} seeds, {document['mazes']} held-out mazes, decoded "
        f"{document['batch']} at a time on {document['device']}.",
        "",
        "| decoder | valid plans, % | tokens/s | mazes/s |",
        "|---|---|---|---|",
    ]
    for name, row in document["rows"].items():
        valid = Measured(**row["valid"]).text()
        lines.append(
            f"| {name} | {valid} | {row['tokens_per_second']:,.0f} | "
            f"{row['mazes_per_second']:,.1f} |"
        )
    return "\n".join(lines) + "\n"


def standard(root: Path = Path("runs/mmada/autoregressive")) -> Comparison:
    """The comparison of README.md."""
    steps = 4_000
    experiment = MaskedDiffusionExperiment(
        world=MazeWorld(),
        model=TransformerConfig(0, 3, 64, 4, 4, 16, 192, attention="bidirectional", unroll=3),
        rows={TASK: 16},
        optimizer=OptimizerConfig(4e-3, 50, steps, final_fraction=0.02, b2=0.99, method="muon"),
        train=TrainConfig(steps=steps, log_every=50, save_every=1_000),
        held_out=0,
    )
    return Comparison(experiment, (0, 1, 2), 500, 50, root, _HERE / "results")


def quick(root: Path = Path("runs/mmada/autoregressive")) -> Comparison:
    """Toy sizes, to see that everything works."""
    whole = standard(root)
    e = whole.experiment
    experiment = replace(
        e,
        world=replace(e.world, width=4, height=4, count=200, minimum_path_cells=None),
        model=TransformerConfig(0, 1, 16, 2, 2, 8, 32, attention="bidirectional"),
        rows={TASK: 8},
        train=replace(e.train, steps=6, log_every=2, save_every=0),
    )
    here = root / "quick"
    return Comparison(experiment, (0,), 8, 4, here, here / "results")


def _main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    parser.add_argument("--root", type=Path, default=Path("runs/mmada/autoregressive"))
    given = parser.parse_args()
    enable_compilation_cache()
    keep_freed_memory()
    run(quick(given.root) if given.quick else standard(given.root))


if __name__ == "__main__":
    _main()

"""One token at a time against masked diffusion: the same mazes, transformer and training tokens.

    python experiments/mmada/autoregressive.py             # ten minutes a seed on two cores
    python experiments/mmada/autoregressive.py --quick     # toy sizes; the numbers mean nothing

Both models read the same rows (a map in words, then the plan) for the same number of steps, with
the same transformer but for who attends to whom. The causal one learns the next token of the
answer; the other one the masked tokens of the answer, its padding included. Judged greedily on the
same held-out mazes: valid plans with standard errors, and tokens per second of the decoders (the
end token counts, padding does not). Runs are kept in runs/mmada/autoregressive and go on where they
stopped; the table is written to results/autoregressive.md and .json beside this file.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from causal_twin import causal_model, train_causal

from jaxreason.data.multimodal.maze_tasks import MazeWorld
from jaxreason.evaluation.diffusion.stage_table import Measured, measured
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.sampling import autoregressive
from jaxreason.training.allocator import keep_freed_memory
from jaxreason.training.cache import enable_compilation_cache
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.experiment import MaskedDiffusionExperiment
from jaxreason.training.diffusion.held_out import Judge
from jaxreason.training.files import write_atomically
from jaxreason.training.loop import TrainConfig
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
    assert answered.words is not None
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
        world=MazeWorld(width=4, height=4, minimum_path_cells=3, count=50_000),
        model=TransformerConfig(
            0, 3, 64, 4, 4, 16, 192, attention="bidirectional", rope_base=100.0, unroll=3
        ),
        rows={TASK: 32},
        decoding=DecodingConfig(),
        optimizer=OptimizerConfig(4e-3, 50, steps, final_fraction=0.02, b2=0.99, method="muon"),
        train=TrainConfig(steps=steps, log_every=50, save_every=1_000),
        held_out=0,
    )
    return Comparison(experiment, (0,), 500, 50, root, _HERE / "results")


def quick(root: Path = Path("runs/mmada/autoregressive")) -> Comparison:
    """Toy sizes, to see that everything works."""
    whole = standard(root)
    e = whole.experiment
    experiment = replace(
        e,
        world=replace(e.world, count=200, minimum_path_cells=None),
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one pair of runs each")
    given = parser.parse_args()
    enable_compilation_cache()
    keep_freed_memory()
    comparison = quick(given.root) if given.quick else standard(given.root)
    run(replace(comparison, seeds=tuple(given.seeds)))


if __name__ == "__main__":
    _main()

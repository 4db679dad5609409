r"""MMaDA's own size and rows: 8 B parameters, 1,539 tokens a row, on TPU slices of any size.

    jaxreason preflight experiments/mmada/pod_8b_records.py --topology v5p-512
    jaxreason preflight experiments/mmada/pod_8b_records.py --topology v5p-16 \
        --train.accumulation 32
    jaxreason train experiments/mmada/pod_8b_records.py --tokenizer tokenizer.json \
        --data.train records.jsonl --image-tokenizer runs/mmada/magvit --base runs/mmada/stage3

The stage-4 settings of the release (`published.py`) with the paper's 1,280 rows a step, fully
sharded: every chip holds 1/n of parameters and moments and all of its own rows. On fewer chips the
rows go through in more micro-batches, `--train.accumulation`. Not run by us, only compiled: with
four rows a chip and full remat the step needs 28 of 95.7 GiB a chip on a v5p-16, 18 on a v5p-32 and
13 on a v5p-512 (`experiments/benchmarks/pod_scale.py`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxreason.models.presets import preset
from jaxreason.sharding.mesh import MeshConfig
from jaxreason.training.diffusion.records_data import RecordsData
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.runs import load_module

published: Any = load_module(Path(__file__).parent / "published.py")

STAGE = published.released("stage4")

experiment = RecordsExperiment(
    data=RecordsData(
        train="records.jsonl",
        text_length=STAGE.text_length,
        image_tokens=STAGE.image_tokens,
        image_codes=8_192,
    ),
    tokenizer="tokenizer.json",
    model=preset("mmada_8b", dtype="bfloat16", remat="full"),
    objective=replace(STAGE.objective(), mask_mode="bool"),
    # (t2i, lm_chat, mmu) = (1, 2, 1), as released, 1,280 in all.
    rows={"t2i": 320, "lm_chat": 640, "mmu": 320},
    optimizer=STAGE.optimizer(),
    train=TrainConfig(steps=STAGE.steps, log_every=20, save_every=2_000),
    mesh=MeshConfig(),
    held_out=0,
    loss_chunk=2_048,
)

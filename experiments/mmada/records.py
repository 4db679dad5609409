r"""Masked diffusion on your own records: JSON lines, or a data set of TensorFlow Datasets.

    jaxreason train experiments/mmada/records.py --data.train train.jsonl \
        --data.held-out held_out.jsonl --run runs/records
    jaxreason evaluate runs/records

One object a line; `data.names` and `data.answer_mark` fit other data sets to these fields:

    {"task": "lm", "text": "the cat sat on the mat"}
    {"task": "lm_chat", "question": "two plus two", "reasoning": "count on", "answer": "four"}
    {"task": "mmu", "question": "what is it", "answer": "a cat", "codes": [1, 0, 2, 2]}

`--rows.lm 4 --rows.mmu 4` take rows of other tasks into each batch. The vocabulary is the words of
the training records, which config.json keeps. Pictures are given as codes (`--data.image-tokens 4
--data.image-codes 3` for those above), or as image files through a trained tokenizer
(`"image": "cat.png"` and `--image-tokenizer RUN`).

Published weights are gone on with as `--base FOLDER --tokenizer FOLDER/tokenizer.json` (after
`jaxreason convert FOLDER BASE --vocabulary-size N`, as `--base BASE`, with more ids); in a copy of
this file, the model is then `jaxreason.models.presets.preset("mmada_8b")`, or that of `llada_8b`.
"""

from jaxreason.models import TransformerConfig
from jaxreason.objectives.diffusion.masked_cross_entropy import MaskedDiffusionConfig
from jaxreason.objectives.diffusion.tasks import TaskCoefficients
from jaxreason.training.diffusion.records_data import RecordsData
from jaxreason.training.diffusion.records_experiment import RecordsExperiment
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 2_000

experiment = RecordsExperiment(
    data=RecordsData(train="train.jsonl", held_out="held_out.jsonl", text_length=124),
    model=TransformerConfig(
        vocabulary_size=0,
        layers=4,
        width=128,
        heads=4,
        kv_heads=4,
        head_size=32,
        mlp_width=384,
        attention="bidirectional",
    ),
    objective=MaskedDiffusionConfig(coefficients=TaskCoefficients(lm=1.0, lm_chat=1.0)),
    rows={"lm": 0, "lm_chat": 16, "mmu": 0, "t2i": 0, "r2i": 0},
    optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=100, total_steps=STEPS),
    train=TrainConfig(steps=STEPS, log_every=50, evaluate_every=500, save_every=500),
)

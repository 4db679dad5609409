r"""Supervised fine-tuning of a language model on conversations: the control for RL's sparsity.

    jaxreason train experiments/subnetworks/llm_sft.py --run runs/llm_sft \
        --base models/Qwen2.5-0.5B --data.path data/gsm8k/train.jsonl
    jaxreason study runs/llm_sft --report study

The base is a folder as published. Data: JSON lines or Parquet with `messages` (or prompt and
answer columns) for `--data.kind chat`, or `text`. Examples are packed, and only what the
assistant says is learnt, its end of turn included (`--batch.loss-on all` learns everything).
`--template plain` is for base models without a chat template.

RL runs have learning rates of 1e-6 and less, SFT usually 1e-5: how sparse an update looks depends
on that more than on the method. So compare at one rate too: `--optimizer.learning-rate 1e-6`. An 8B
model on one H200:

    --params-dtype bfloat16 --optimizer.moments-dtype bfloat16 --remat full --train.accumulation 16

Hardware: one H100 or H200; see `jaxreason preflight`. Not run by us yet at this size; the same
program, shrunk, is a test.
"""

from jaxreason.data import BatchConfig
from jaxreason.data.language import DataConfig
from jaxreason.training.language import LanguageSupervised
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 500

experiment = LanguageSupervised(
    base="models/Qwen2.5-0.5B-Instruct",
    data=DataConfig("data/gsm8k/train.jsonl", kind="chat"),
    held_out=256,
    batch=BatchConfig(batch_size=32, length=2048, overflow="drop"),
    optimizer=OptimizerConfig(
        learning_rate=1e-5,
        warmup_steps=STEPS // 20,
        total_steps=STEPS,
        schedule="cosine",
        b2=0.999,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, accumulation=4, log_every=5, evaluate_every=100, save_every=250),
    loss_chunk=4096,
)

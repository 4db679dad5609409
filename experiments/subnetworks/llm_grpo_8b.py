r"""GRPO of an 8B chat model on MATH with bfloat16 parameters and moments, on one H200.

    XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 jaxreason train experiments/subnetworks/llm_grpo_8b.py \
        --run runs/llm_grpo_8b --base models/Qwen3-8B --data.path data/math/train.jsonl \
        --evaluation.path data/math/test.jsonl

The data are MATH's own rows (`problem`, `solution` with its boxed answer): JSON lines, Parquet, or
the folder MATH as published with `--data.split train --evaluation.split test`. For prompts and
answers of another layout add `--data.known "" --evaluation.known ""`.

Weights are stored in bfloat16, as in the runs of Mukherjee et al. 2025, and so are the moments,
rounded at random: a step smaller than half a unit in the last place of a weight is lost, which is
what keeps most weights as they were. On more devices the same file shards everything:
`--mesh.fsdp 8`, and `--params-dtype float32` keeps float32 masters where they fit.

`jaxreason preflight FILE --base qwen3_8b --topology h200` compiles it without weights or GPU.
Not run by us yet at this size.
"""

from jaxreason.data.language import DataConfig
from jaxreason.training.language import LanguageReinforcement
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig

STEPS = 200
SUFFIX = "\nPlease reason step by step, and put your final answer within \\boxed{}."

experiment = LanguageReinforcement(
    base="models/Qwen3-8B",
    data=DataConfig("data/math/train.jsonl", known="math", kind="prompts", suffix=SUFFIX),
    evaluation=DataConfig("data/math/test.jsonl", known="math", kind="prompts", suffix=SUFFIX),
    held_out=200,
    method="dr_grpo",
    prompt_tokens=512,
    overflow="drop",
    rollout=RolloutConfig(prompts=16, group=8, max_new_tokens=1024),
    params_dtype="bfloat16",
    optimizer=OptimizerConfig(
        learning_rate=1e-6,
        warmup_steps=10,
        total_steps=STEPS,
        schedule="constant",
        b2=0.999,
        weight_decay=0.0,
        moments_dtype="bfloat16",
    ),
    train=TrainConfig(
        steps=STEPS, accumulation=32, log_every=1, evaluate_every=25, save_every=50, keep_last=1
    ),
    remat="full",
    loss_chunk=1024,
)

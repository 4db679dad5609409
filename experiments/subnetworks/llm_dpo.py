r"""DPO of a chat model on preferences: Tulu 3's settings, the paper's length-normalised loss.

    jaxreason train experiments/subnetworks/llm_dpo.py --run runs/llm_dpo \
        --base models/Qwen2.5-0.5B-Instruct --data.path data/ultrafeedback/train_prefs.parquet
    jaxreason study runs/llm_dpo --report study

The base is a folder as published. Data: any JSON lines or Parquet file with `chosen` and
`rejected`, such as UltraFeedback's binarised preferences. `--method` takes dpo, dpo_norm, ipo, orpo
and simpo. What the reference says is computed once and kept in reference.npz. `--lora.rank 16`
trains low-rank updates instead. KTO learns from completions with a `label` each, and its baseline
is that of the whole batch, which therefore is computed in one piece:

    --method kto --data.kind labelled --evaluation.kind labelled --batch-size 8 \
        --train.accumulation 1

Learning rate, batch, length and schedule are those that Mukherjee et al. 2025 (appendix B) give for
Tulu-3-8B; beta 5 is that of the matching command of open-instruct. At this rate most weights of a
bfloat16 checkpoint cannot move; that is the point. An 8B model on one H200:

    --base models/Llama-3.1-Tulu-3-8B-SFT --params-dtype bfloat16 --remat full \
        --optimizer.moments-dtype bfloat16 --train.accumulation 128

Hardware: one H100 or H200; see `jaxreason preflight`. Not run by us yet at this size; the same
program, shrunk, is a test.
"""

from jaxreason.data.language import DataConfig
from jaxreason.training.language import LanguagePreference
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 480  # about one epoch of 61,000 pairs

experiment = LanguagePreference(
    base="models/Qwen2.5-0.5B-Instruct",
    data=DataConfig("data/ultrafeedback/train_prefs.parquet", kind="preference"),
    held_out=512,
    method="dpo_norm",
    length=2048,
    overflow="drop",
    batch_size=128,
    optimizer=OptimizerConfig(
        learning_rate=5e-7,
        warmup_steps=STEPS // 10,
        total_steps=STEPS,
        schedule="linear",
        final_fraction=0.0,
        b2=0.999,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, accumulation=32, log_every=5, evaluate_every=60, save_every=120),
    loss_chunk=4096,
)

r"""UniGRPO of LLaDA-8B or MMaDA-8B on GSM8K: one H200, or a pod.

    jaxreason train experiments/mmada/llm_unigrpo.py --run runs/llm_unigrpo \
        --base models/LLaDA-8B-Instruct --data.path data/gsm8k/train.jsonl \
        --evaluation.path data/gsm8k/test.jsonl

`--base` is a folder with the weights and the tokenizer, as published, or a run that started from
one (`llm_diffusion_sft.py`). The questions are GSM8K's (`jaxreason data show gsm8k`), or, with
`--data.known ""`, JSON lines or Parquet with the columns question and answer. An answer earns 2 if
it is right (math-verify) and 0.5 for `<think> reasoning </think> answer`, the paper's weights
(arXiv 2505.15809). Some answers are kept as text in completions/.

MMaDA asks in a layout of its own; d1 (arXiv 2504.12216) has other tags, rewards and estimator:

    --base models/MMaDA-8B-MixCoT --template mmada
    --method diffu_grpo --recipe d1 --instruction d1 --place tagged

One H200 (141 GB): parameters and both moments in bfloat16, the backward pass keeps the inputs of
the blocks alone, logits of 1,024 tokens at a time, 8 rows at a time. A v5p slice of 8 chips or more
takes the same with parameters and moments spread over its chips:

    --mesh.fsdp 8 --train.accumulation 4

What fits where, without weights and without the device:

    jaxreason preflight experiments/mmada/llm_unigrpo.py --base llada_8b --topology h200

Not run yet: no weights of this size were at hand, so that there are no accuracies here. The same
code was run at toy size on CPUs, and compiled at this size.
"""

from jaxreason.data.language import DataConfig
from jaxreason.training.diffusion.decoding import DecodingConfig
from jaxreason.training.diffusion.language_experiment import DiffusionLanguageReinforcement
from jaxreason.training.diffusion.rollouts import DiffusionRolloutConfig
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 500

experiment = DiffusionLanguageReinforcement(
    base="models/LLaDA-8B-Instruct",
    data=DataConfig("data/gsm8k/train.jsonl", known="gsm8k", kind="prompts"),
    evaluation=DataConfig("data/gsm8k/test.jsonl", known="gsm8k", kind="prompts"),
    held_out=256,
    method="unigrpo",
    recipe="mmada",
    instruction="mmada",
    prompt_tokens=256,
    overflow="drop",
    rollout=DiffusionRolloutConfig(prompts=8, group=8),
    # 256 tokens in blocks of 32, two a step, as d1 samples.
    decoding=DecodingConfig(length=256, block=32, tokens_per_step=2, temperature=0.9),
    optimizer=OptimizerConfig(
        learning_rate=1e-6,
        warmup_steps=10,
        total_steps=STEPS * 4,
        schedule="constant",
        b2=0.99,
        weight_decay=0.0,
        moments_dtype="bfloat16",
    ),
    params_dtype="bfloat16",
    compute_dtype="bfloat16",
    remat="full",
    loss_chunk=1_024,
    train=TrainConfig(
        steps=STEPS, accumulation=8, log_every=1, evaluate_every=50, save_every=50, keep_last=2
    ),
)

r"""Fine-tuning of LLaDA-8B or MMaDA-8B on conversations: one H200, or a pod.

    jaxreason train experiments/mmada/llm_diffusion_sft.py --run runs/llm_sft \
        --base models/LLaDA-8B-Instruct --data.path data/gsm8k/train.jsonl \
        --evaluation.path data/gsm8k/test.jsonl

GSM8K's solutions become `<think> reasoning </think> answer`, each after MMaDA's instruction to
think first (arXiv 2505.15809, section 2.2). Other conversations, with their reasoning in such tags
or without any:

    --data.known "" --data.path chats.parquet --evaluation.known "" \
        --evaluation.path "" --held-out 500 --reasoning-mark ""

What follows an answer is filled with end tokens, which are learnt, as LLaDA's fine-tuning does.
MMaDA has a layout of its own: `--template mmada`. `llm_unigrpo.py` goes on from the run, asked in
the same template.

One H200 (141 GB): parameters and both moments in bfloat16, the backward pass keeps the inputs of
the blocks alone. A v5p slice of 8 chips or more: `--mesh.fsdp 8 --train.accumulation 1`.

    jaxreason preflight experiments/mmada/llm_diffusion_sft.py --base llada_8b --topology h200

Not run yet at this size: no weights were at hand. The same code was run at toy size on CPUs, and
compiled at this size.
"""

from jaxreason.data.language import DataConfig
from jaxreason.training.diffusion.language_supervised import DiffusionLanguageSupervised
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig

STEPS = 700

experiment = DiffusionLanguageSupervised(
    base="models/LLaDA-8B-Instruct",
    data=DataConfig("data/gsm8k/train.jsonl", known="gsm8k", kind="chat"),
    evaluation=DataConfig("data/gsm8k/test.jsonl", known="gsm8k", kind="chat"),
    held_out=256,
    reasoning_mark="####",
    length=512,
    rows=32,
    overflow="drop",
    optimizer=OptimizerConfig(
        learning_rate=1e-5,
        warmup_steps=50,
        total_steps=STEPS,
        b2=0.99,
        weight_decay=0.0,
        moments_dtype="bfloat16",
    ),
    params_dtype="bfloat16",
    remat="full",
    loss_chunk=1_024,
    train=TrainConfig(
        steps=STEPS, accumulation=4, log_every=10, evaluate_every=100, save_every=350, keep_last=1
    ),
)

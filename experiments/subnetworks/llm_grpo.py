r"""GRPO of a 0.5B chat model on GSM8K: is what it changes a subnetwork?

    jaxreason train experiments/subnetworks/llm_grpo.py --run runs/llm_grpo \
        --base models/Qwen2.5-0.5B-Instruct --data.path data/gsm8k/train.jsonl \
        --evaluation.path data/gsm8k/test.jsonl
    jaxreason study runs/llm_grpo --report study

The base is a folder as published (config.json, safetensors, tokenizer.json): Qwen2.5, Qwen3, Llama,
Mistral; `jaxreason convert` is not needed. The data are GSM8K's own files (`question`, `answer`
with `####`); any JSON lines or Parquet file with prompts and answers will do, see
`DataConfig.columns`. Answers are judged by math-verify: `pip install 'jaxreason[hf,math]'`.

`--method` takes every name of `jaxreason.objectives.algorithms.ALGORITHMS` (ppo and prime keep a
second network of the same size); `--recipe mmada`, `d1` or `r1` rewards the form of an answer too.
`--lora.rank 16` trains low-rank updates instead, `--mask FILE` a given subnetwork. Look first at
completions/ of the run: what the model says, as text, at every evaluation.

Hardware: one H100 or H200 (the fields suit 80 GB; `jaxreason preflight FILE --topology h200` says
what they take). Not run by us yet at this size; the same program, shrunk, is a test.
"""

from jaxreason.data.language import DataConfig
from jaxreason.training.language import LanguageReinforcement
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig

STEPS = 200
SUFFIX = "\nPlease reason step by step, and put your final answer within \\boxed{}."

experiment = LanguageReinforcement(
    base="models/Qwen2.5-0.5B-Instruct",
    data=DataConfig("data/gsm8k/train.jsonl", kind="prompts", answer_mark="####", suffix=SUFFIX),
    evaluation=DataConfig(
        "data/gsm8k/test.jsonl", kind="prompts", answer_mark="####", suffix=SUFFIX
    ),
    held_out=256,
    method="grpo",
    overrides={"kl_coefficient": "0.001"},
    recipe="correct",
    prompt_tokens=384,
    overflow="drop",
    rollout=RolloutConfig(prompts=64, group=8, max_new_tokens=640),
    optimizer=OptimizerConfig(
        learning_rate=1e-6,
        warmup_steps=10,
        total_steps=STEPS,
        schedule="constant",
        b2=0.999,
        weight_decay=0.0,
    ),
    train=TrainConfig(steps=STEPS, accumulation=16, log_every=1, evaluate_every=25, save_every=50),
    loss_chunk=4096,
)

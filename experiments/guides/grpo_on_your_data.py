r"""Guide: GRPO of a Qwen (or Llama, or Mistral) on your own questions, and what it changed.

    python experiments/guides/grpo_on_your_data.py          # a made-up tiny model and ten sums
    python experiments/guides/grpo_on_your_data.py --base models/Qwen2.5-0.5B-Instruct \
        --data my_questions.jsonl --steps 200 --prompts 64 --group 8 --tokens 512

`--base` is a folder as published (config.json, *.safetensors, tokenizer.json); `--data` has a JSON
object per line with `question` and `answer`. Needs `pip install 'jaxreason[hf,math]'`.
Writes runs/guide-grpo; look at its completions/ first: what the model says, as text.
"""

import argparse
import json
from pathlib import Path

import jax

from jaxreason.cli.main import main as jaxreason
from jaxreason.data.language import DataConfig
from jaxreason.models import Transformer, TransformerConfig
from jaxreason.training.language import LanguageReinforcement
from jaxreason.training.loop import TrainConfig
from jaxreason.training.optimizer import OptimizerConfig
from jaxreason.training.rollouts import RolloutConfig
from jaxreason.weights.pretrained import PretrainedShape, export_pretrained

RUN = "runs/guide-grpo"


def toy(folder):
    """A random model of one layer in Qwen2's layout that reads bytes, and ten sums."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=258, special_tokens=["<|end|>", "<|pad|>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([], trainer)
    said = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|end|>", "pad_token": "<|pad|>"}
    config = TransformerConfig(258, 1, 32, 4, 2, 8, 64, qkv_bias=True, rope_base=1e6)
    shape = PretrainedShape(config, "qwen2", {})
    files = {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": json.dumps(said)}
    if not (folder / "base").exists():
        params = Transformer(config).init(jax.random.key(0))
        export_pretrained(params, folder / "base", shape, documents=files)
    sums = [{"question": f"{i}+{i}=", "answer": str(2 * i)} for i in range(10)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums))
    return str(folder / "base"), str(folder / "sums.jsonl"), "plain"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--base", default="")
    options.add_argument("--data", default="")
    for name, number in {"steps": 2, "prompts": 4, "group": 2, "tokens": 8}.items():
        options.add_argument(f"--{name}", type=int, default=number)
    given = options.parse_args()
    base, data, template = given.base, given.data, "chat"
    if not base:
        folder = Path("runs/guide-grpo-toy")
        folder.mkdir(parents=True, exist_ok=True)
        base, data, template = toy(folder)

    experiment = LanguageReinforcement(
        base=base,
        data=DataConfig(data, kind="prompts"),
        held_out=4 if not given.base else 100,  # the last questions are kept to be asked later
        template=template,
        # One of `jaxreason.objectives.ALGORITHMS`; fields of it change by `overrides`.
        method="grpo",
        # 1 for an answer that math-verify finds equal. "mmada", "d1", "r1" reward forms as well.
        recipe="correct",
        prompt_tokens=512 if given.base else 16,
        rollout=RolloutConfig(given.prompts, given.group, max_new_tokens=given.tokens),
        optimizer=OptimizerConfig(
            learning_rate=1e-6, warmup_steps=0, schedule="constant", weight_decay=0.0
        ),
        train=TrainConfig(steps=given.steps, log_every=1, evaluate_every=given.steps),
    )
    # The same command goes on after an interruption, to the same bits.
    experiment.run(RUN)

    # How sparse and how full-rank is what RL did, by every rule of equality? With several runs
    # also: do they change the same weights more than chance and rounding explain?
    jaxreason(["study", RUN])

    # Back to files that other tools load, tokenizer included.
    if not Path("runs/guide-grpo-weights").exists():
        jaxreason(["convert", RUN, "runs/guide-grpo-weights"])


if __name__ == "__main__":
    main()

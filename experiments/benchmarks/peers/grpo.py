"""TRL's GRPO on the prompts of our run: the same weights, group, lengths and penalty."""

import tempfile
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from gated import Phases, one_by_one
from qwen2 import load_from_folder, word_tokenizer
from trl import GRPOConfig, GRPOTrainer


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """One step of GRPO; gives its seconds by phase."""
    ids, group = settings["ids"], settings["group"]
    tokenizer = word_tokenizer(settings["words"], ids)
    model = load_from_folder(
        settings, bos_token_id=ids["bos"], eos_token_id=ids["eos"], pad_token_id=ids["pad"]
    )

    def words_of_plans(completions: list[str], **_: Any) -> list[float]:
        return [float(text.split().count("plan")) for text in completions]

    arguments = GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="peer-grpo-"),
        per_device_train_batch_size=settings["prompts"] * group,
        num_generations=group,
        max_completion_length=settings["max_new_tokens"],
        temperature=1.0,
        top_k=0,
        beta=settings["kl_coefficient"],
        loss_type="grpo",
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        max_steps=10_000,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        seed=0,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=words_of_plans,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": text} for text in settings["texts"]]),
        processing_class=tokenizer,
    )
    phases = Phases()
    phases.wrap(trainer, "_generate_and_score_completions", "scoring")
    phases.wrap(trainer, "_generate", "sampling", only_within="scoring")
    phases.wrap(trainer, "_calculate_rewards", "reward", only_within="scoring")
    step = one_by_one(trainer)

    def run() -> dict[str, float]:
        step()
        return phases.take()

    return {"TRL GRPO": run}

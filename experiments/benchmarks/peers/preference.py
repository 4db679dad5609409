"""TRL's DPO on pairs of our lengths, the reference scored beforehand as ours is."""

import tempfile
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from gated import one_by_one
from qwen2 import load_from_folder, word_tokenizer
from trl import DPOConfig, DPOTrainer


def contestants(settings: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """One step of DPO."""
    ids = settings["ids"]
    tokenizer = word_tokenizer(settings["words"], ids)
    model = load_from_folder(
        settings, bos_token_id=ids["bos"], eos_token_id=ids["eos"], pad_token_id=ids["pad"]
    )
    arguments = DPOConfig(
        output_dir=tempfile.mkdtemp(prefix="peer-dpo-"),
        per_device_train_batch_size=settings["pairs"],
        beta=0.1,
        precompute_ref_log_probs=True,
        max_length=None,
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
    trainer = DPOTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(settings["rows"]),
        processing_class=tokenizer,
    )
    return {"TRL DPO": one_by_one(trainer)}

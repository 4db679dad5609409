"""Writes peft.npz: an adapter that PEFT trained on a tiny random model, and the model's logits.

    python tests/golden/generate_peft.py

Needs torch, transformers and peft (extra `oracle`); the base is `tiny_models`' of the family qwen2.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from safetensors.numpy import load_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
TOKENS = np.random.default_rng(1).integers(0, 320, (2, 12))


def main() -> None:
    from tiny_models import write_tiny_model

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        write_tiny_model(f"{name}/base", "qwen2", tokenizer=False)
        base = transformers.AutoModelForCausalLM.from_pretrained(
            f"{name}/base", dtype=torch.float32
        )
        config = peft.LoraConfig(
            r=3,
            lora_alpha=5,
            lora_dropout=0.0,
            use_rslora=True,
            target_modules=["q_proj", "v_proj", "o_proj", "down_proj"],
            task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(base, config)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        tokens = torch.tensor(TOKENS)
        for _ in range(5):
            optimizer.zero_grad()
            model(tokens, labels=tokens).loss.backward()
            optimizer.step()
        model.save_pretrained(f"{name}/adapter")
        with torch.no_grad():
            logits = model.eval()(tokens).logits.numpy()
        document = Path(f"{name}/adapter/adapter_config.json").read_text().replace(name, "")
        tensors = load_file(f"{name}/adapter/adapter_model.safetensors")
    np.savez_compressed(
        HERE / "peft.npz",
        tokens=TOKENS,
        logits=logits,
        adapter_config=np.frombuffer(document.encode(), np.uint8),
        **tensors,
    )


if __name__ == "__main__":
    main()

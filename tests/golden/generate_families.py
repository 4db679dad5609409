"""Write families.npz: what transformers computes for tiny models of each family.

Needs torch and transformers (extra `oracle`): `python tests/golden/generate_families.py`. Weights
are drawn from numpy's PCG64, seeded by their names (see `draw`); stored are the config.json that
transformers saves, the names and shapes of the weights, logits and greedy tokens.
"""

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).with_name("families.npz")
VOCABULARY = 31
_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    # No token ends a text, so that greedy decoding goes on.
    "bos_token_id": None,
    "eos_token_id": None,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
# what transformers' configuration class of the family is given besides
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2_yarn": ("qwen2", {"rope_parameters": _YARN}),
    "qwen2_windows": (
        "qwen2",
        {"num_hidden_layers": 3, "use_sliding_window": True, "sliding_window": 4}
        | {"max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {"head_dim": 6, "tie_word_embeddings": True}),
    "qwen3_windows": (
        "qwen3",
        {"head_dim": 8, "attention_bias": True, "use_sliding_window": True, "sliding_window": 3}
        | {"layer_types": ["sliding_attention", "full_attention"]},
    ),
    "llama": ("llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-5}),
    "llama3": ("llama", {"tie_word_embeddings": True, "rope_parameters": _LLAMA3}),
    "llama_biases": (
        "llama",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 6}
        | {"rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 500.0}},
    ),
    "mistral": ("mistral", {"sliding_window": 4}),
    "mistral_long": (
        "mistral",
        {"sliding_window": None, "head_dim": 10}
        | {"rope_parameters": _YARN | {"mscale": 0.7, "mscale_all_dim": 0.3, "truncate": False}},
    ),
}
# rope parameters of published models, and of every branch: (head size, parameters)
ROPES: dict[str, tuple[int, dict[str, Any]]] = {
    "llama31": (
        128,
        {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}
        | {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
    ),
    "qwen25_long": (
        128,
        {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
        | {"original_max_position_embeddings": 32768},
    ),
    "narrow": (
        64,
        {"rope_type": "yarn", "rope_theta": 1e4, "factor": 16.0, "attention_factor": 0.9}
        | {"beta_fast": 20.0, "beta_slow": 2.0, "truncate": False}
        | {"original_max_position_embeddings": 100},
    ),
    "linear": (64, {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.5}),
}
TOKENS = np.random.default_rng(7).integers(0, VOCABULARY, (2, 13))
PROMPTS = TOKENS[:, :6]
NEW_TOKENS = 12


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight; norms are around 1, biases are not trivial."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    deviation, mean = (0.2, 1.0) if "norm" in name else (0.35, 0.0)
    return (mean + deviation * generator.standard_normal(shape)).astype(np.float32)


def reference_model(family: str, settings: dict[str, Any]) -> Any:
    """transformers' model with weights by `draw`, in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **_SMALL | settings)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(draw(name, tuple(parameter.shape))))
    return model


def results(model: Any) -> dict[str, np.ndarray]:
    """Logits of TOKENS and greedy tokens after PROMPTS."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor(TOKENS)).logits.numpy()
    prompts = torch.tensor(PROMPTS)
    generated = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    return {"logits": logits, "greedy": generated[:, PROMPTS.shape[1] :].numpy().astype(np.int32)}


def rope_reference(head_size: int, parameters: dict[str, Any]) -> np.ndarray:
    """Radians per token of each pair of features, and then what cosine and sine are times."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(head_dim=head_size, rope_parameters=dict(parameters))
    turns, factor = ROPE_INIT_FUNCTIONS[parameters["rope_type"]](config)
    return np.append(turns.numpy(), np.float32(factor))


def main() -> None:
    """Compute and store the golden values of every case."""
    from safetensors.numpy import load_file

    arrays = {f"rope/{name}": rope_reference(*case) for name, case in ROPES.items()}
    for name, (family, settings) in CASES.items():
        model = reference_model(family, settings)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            config = (Path(folder) / "config.json").read_text()
            shapes = {k: v.shape for k, v in load_file(f"{folder}/model.safetensors").items()}
        found = results(model) | {
            "config": np.array(config),
            "shapes": np.array(json.dumps(shapes)),
        }
        arrays |= {f"{name}/{key}": value for key, value in found.items()}
        print(name, len(np.unique(found["greedy"])), "different greedy tokens")
    np.savez_compressed(GOLDEN, **arrays)  # type: ignore[arg-type]
    print(f"{GOLDEN.name}: {len(arrays)} arrays, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()

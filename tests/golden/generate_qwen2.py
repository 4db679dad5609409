"""Write qwen2.npz: what transformers' Qwen2 computes for weights anyone can make again.

Needs torch and transformers (extra `oracle`): `python tests/golden/generate_qwen2.py`. The weights
are drawn from numpy's PCG64 with seed 2024 (see `weights`); only results are stored.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxreason.models.llama import to_llama
from jaxreason.models.transformer import TransformerConfig
from jaxreason.weights.families import document_of

GOLDEN = Path(__file__).with_name("qwen2.npz")
TIED = TransformerConfig(
    vocabulary_size=31,
    layers=2,
    width=24,
    heads=6,
    kv_heads=2,
    head_size=4,
    mlp_width=40,
    qkv_bias=True,
    rope_base=1e6,
)
CONFIGS = {"tied": TIED, "untied": replace(TIED, tied=False)}
TOKENS = np.random.default_rng(7).integers(0, 31, (2, 13))
PROMPTS = TOKENS[:, :5]
NEW_TOKENS = 16


def weights(config: TransformerConfig) -> dict:
    """Our parameter tree, drawn in the order written here; biases and norms are not trivial."""
    generator = np.random.default_rng(2024)
    c = config

    def draw(*shape: int, deviation: float, mean: float = 0.0) -> np.ndarray:
        return (mean + deviation * generator.standard_normal(shape)).astype(np.float32)

    kv, layers = (c.kv_heads, c.head_size), c.layers
    tree = {
        "embedding": draw(c.vocabulary_size, c.width, deviation=1.0),
        "final_norm": draw(c.width, deviation=0.2, mean=1.0),
        "layers": {
            "attention_norm": draw(layers, c.width, deviation=0.2, mean=1.0),
            "query": draw(layers, c.width, c.heads, c.head_size, deviation=0.4),
            "key": draw(layers, c.width, *kv, deviation=0.4),
            "value": draw(layers, c.width, *kv, deviation=0.4),
            "query_bias": draw(layers, c.heads, c.head_size, deviation=0.5),
            "key_bias": draw(layers, *kv, deviation=0.5),
            "value_bias": draw(layers, *kv, deviation=0.5),
            "output": draw(layers, c.heads, c.head_size, c.width, deviation=0.4),
            "mlp_norm": draw(layers, c.width, deviation=0.2, mean=1.0),
            "gate": draw(layers, c.width, c.mlp_width, deviation=0.3),
            "up": draw(layers, c.width, c.mlp_width, deviation=0.3),
            "down": draw(layers, c.mlp_width, c.width, deviation=0.3),
        },
    }
    if not c.tied:
        tree["head"] = draw(c.width, c.vocabulary_size, deviation=0.3)
    return tree


def reference(config: TransformerConfig, tree: dict) -> dict[str, np.ndarray]:
    """Logits, loss, its gradient by weight, and greedy tokens, by transformers in float32."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    settings = document_of(config, "qwen2", {}, "float32")
    model = Qwen2ForCausalLM(Qwen2Config(**settings, use_cache=True)).float().eval()
    state = {
        name: torch.tensor(np.ascontiguousarray(array))
        for name, array in to_llama(tree, config).items()
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    model.tie_weights()
    tokens = torch.tensor(TOKENS)
    out = model(tokens, labels=tokens)
    out.loss.backward()
    result = {"logits": out.logits.detach().numpy(), "loss": out.loss.detach().numpy()}
    for name, parameter in model.named_parameters():
        result[f"gradient/{name}"] = parameter.grad.numpy()
    model.generation_config.eos_token_id = None
    generated = model.generate(
        torch.tensor(PROMPTS),
        attention_mask=torch.ones(PROMPTS.shape, dtype=torch.long),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    result["greedy"] = generated[:, PROMPTS.shape[1] :].numpy().astype(np.int32)
    return result


def main() -> None:
    """Compute and store the golden values of every configuration."""
    arrays = {
        f"{name}/{key}": value
        for name, config in CONFIGS.items()
        for key, value in reference(config, weights(config)).items()
    }
    np.savez_compressed(GOLDEN, **arrays)  # type: ignore[arg-type]
    print(f"{GOLDEN.name}: {len(arrays)} arrays, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()

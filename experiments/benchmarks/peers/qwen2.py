"""Our weights in transformers' Qwen2, which has the shape of our transformers."""

from typing import Any

import numpy as np
import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM


def load(settings: dict[str, Any], **changes: Any) -> Qwen2ForCausalLM:
    """The model of `peer_models.save_for_peer`, in float32."""
    transformers.logging.set_verbosity_error()
    model = Qwen2ForCausalLM(Qwen2Config(**settings["config"], **changes))
    with np.load(settings["weights"]) as weights:
        state = {name: torch.tensor(weights[name]) for name in weights.files}
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    for name, parameter in model.named_parameters():
        # Qwen2 always adds these; zeros leave the function ours, for a cost of a few thousandths.
        if name.endswith("bias") and name not in state:
            torch.nn.init.zeros_(parameter)
    return model


def load_from_folder(settings: dict[str, Any], **changes: Any) -> Qwen2ForCausalLM:
    """The same through a folder beside the weights, which trainers read their reference from."""
    folder = settings["weights"] + ".folder"
    load(settings, **changes).save_pretrained(folder)
    return Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)


def word_tokenizer(words: list[str], ids: dict[str, int]) -> Any:
    """A tokenizer of words apart by spaces, with ids by their places in `words`."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    table = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(table, unk_token=words[ids["unk"]]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=words[ids["eos"]],
        pad_token=words[ids["pad"]],
        unk_token=words[ids["unk"]],
        padding_side="left",
    )

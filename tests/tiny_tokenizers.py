"""Tokenizers of a few hundred ids in the layouts that published models come in."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors

TEMPLATES = Path(__file__).parent / "chat_templates"

TEXT = """Two plus three is five, and five times four is twenty. The answer is 20.
A train goes 60 miles in one hour; how many miles does it go in three hours? It goes 180 miles.
Question: What is the sum of 12 and 30? Answer: the sum is 42. Let us think step by step.
She has ten apples, gives four to him and keeps the other six. How many apples are there now?
The cat sat on the mat while the dog was in the garden; then the rain came and they all ran home.
"""

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Style(NamedTuple):
    """What a family's published tokenizer has."""

    template: str | None
    special: tuple[str, ...]
    ordinary: tuple[str, ...] = ()
    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    class_name: str = "PreTrainedTokenizerFast"
    first: bool = False
    """Whether the special tokens have the lowest ids, as in SentencePiece models."""
    starts_with_bos: bool = False


_QWEN = Style(
    "qwen",
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    ("<tool_call>", "</tool_call>"),
    eos="<|im_end|>",
    pad="<|endoftext|>",
    class_name="Qwen2Tokenizer",
)
_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")

STYLES = {
    "none": _QWEN._replace(template=None, eos="<|endoftext|>"),
    "qwen": _QWEN,
    "generation": _QWEN._replace(template="generation"),
    "qwen3": _QWEN._replace(
        template="qwen3", ordinary=("<tool_call>", "</tool_call>", "<think>", "</think>")
    ),
    "llama3": Style(
        "llama3",
        (*_LLAMA3, "<|eom_id|>", "<|eot_id|>"),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        starts_with_bos=True,
    ),
    "llama2": Style(
        "llama2",
        ("<unk>", "<s>", "</s>"),
        bos="<s>",
        eos="</s>",
        unk="<unk>",
        first=True,
        starts_with_bos=True,
    ),
    "mistral": Style(
        "mistral",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
        bos="<s>",
        eos="</s>",
        unk="<unk>",
        first=True,
        starts_with_bos=True,
    ),
    "llada": Style(
        "llada",
        (
            *("<|startoftext|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>"),
            *("<|eot_id|>", "<|mdm_mask|>"),
        ),
        bos="<|startoftext|>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
    ),
    "deepseek": Style(
        "deepseek",
        ("<|begin_of_sentence|>", "<|end_of_sentence|>", "<|User|>", "<|Assistant|>"),
        ("<think>", "</think>"),
        bos="<|begin_of_sentence|>",
        eos="<|end_of_sentence|>",
        pad="<|end_of_sentence|>",
        starts_with_bos=True,
    ),
}


def write_tiny_tokenizer(folder: str | Path, *, size: int = 300, chat: str = "qwen") -> None:
    """tokenizer.json, tokenizer_config.json and chat_template.jinja as a published folder has them.

    A byte-level BPE, the same on every machine: any text encodes, and decodes to itself.

    Args:
        folder: made if it is not there; other files in it stay.
        size: ids in all, added tokens included; at least 256 and those of the style.
        chat: a name in `STYLES`; "none": Qwen's tokens without a template.
    """
    style, folder = STYLES[chat], Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _train(style, size)
    assert tokenizer.get_vocab_size() == size
    tokenizer.save(str(folder / "tokenizer.json"))
    config = _config(style, tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    if style.template is not None:
        text = (TEMPLATES / f"{style.template}.jinja").read_text()
        (folder / "chat_template.jinja").write_text(text)


def _train(style: Style, size: int) -> tokenizers.Tokenizer:
    added = [AddedToken(word, special=True, normalized=False) for word in style.special]
    added += [AddedToken(word, special=False, normalized=False) for word in style.ordinary]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size if style.first else size - len(added),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=added if style.first else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_tokens(added)
    bytes_to_text = processors.ByteLevel(trim_offsets=False)
    if style.starts_with_bos:
        bos = processors.TemplateProcessing(
            single=f"{style.bos} $A",
            pair=f"{style.bos} $A {style.bos} $B",
            special_tokens=[(style.bos, tokenizer.token_to_id(style.bos))],
        )
        tokenizer.post_processor = processors.Sequence([bytes_to_text, bos])
    else:
        tokenizer.post_processor = bytes_to_text
    return tokenizer


def _config(style: Style, tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    decoder = {
        str(tokenizer.token_to_id(word)): {
            "content": word,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": word in style.special,
        }
        for word in (*style.special, *style.ordinary)
    }
    named = {
        f"{name}_token": getattr(style, name)
        for name in ("bos", "eos", "pad", "unk")
        if getattr(style, name) is not None or name in ("bos", "pad")
    }
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        **named,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
        "tokenizer_class": style.class_name,
    }

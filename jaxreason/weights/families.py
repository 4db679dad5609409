"""Families of published language models: config.json to our configuration and back.

Every field of a config.json is honoured, or says nothing about what the model computes, or is
refused by name. The facts are those of transformers' configuration and modelling files of each
family (github.com/huggingface/transformers, models/{llama,mistral,qwen2,qwen3}).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxreason.errors import InputError
from jaxreason.models.config import MOST_LAYERS, TransformerConfig
from jaxreason.weights.config_fields import Fields
from jaxreason.weights.placed import Dtype
from jaxreason.weights.rope_fields import ROPE_FIELDS, read_rope, rope_document
from jaxreason.weights.window_fields import EACH_LAYER, ONE, read_windows, window_document

# field of our config -> its name in config.json
_SIZES = {
    "vocabulary_size": "vocab_size",
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
}
_READ = {
    *_SIZES.values(),
    *("num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings", "hidden_act"),
    *("model_type", "architectures", "torch_dtype", "dtype"),
    *ROPE_FIELDS,
}

HARMLESS = {
    # Where the file comes from, how it was initialised, how transformers runs it.
    *("_name_or_path", "transformers_version", "initializer_range", "use_cache", "return_dict"),
    *("_attn_implementation", "attn_implementation", "_attn_implementation_autoset"),
    *("output_attentions", "output_hidden_states", "torchscript", "use_bfloat16", "pretraining_tp"),
    *("chunk_size_feed_forward", "unsloth_version", "unsloth_fixed", "tokenizer_class"),
    # Training only. Nothing is dropped when one of our models is trained, whatever this says.
    "attention_dropout",
    # Read by tokenizers and samplers, from files of their own too.
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "min_length", "do_sample"),
    *("num_beams", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty"),
    *("length_penalty", "no_repeat_ngram_size", "num_return_sequences", "early_stopping"),
    *("num_beam_groups", "diversity_penalty", "return_dict_in_generate", "output_scores"),
    *("encoder_no_repeat_ngram_size", "remove_invalid_values", "forced_bos_token_id"),
    *("forced_eos_token_id", "bad_words_ids", "begin_suppress_tokens", "suppress_tokens"),
    *("exponential_decay_length_penalty", "decoder_start_token_id", "prefix", "sep_token_id"),
    # Of heads for classification, which a causal language model does not have.
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"),
    "task_specific_params",
}
"""Fields that change nothing of what our model computes, whatever they hold; kept for an export."""

_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "use_sliding_window": (False,),
    "use_mrope": (False,),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({},),
}
"""Fields that are fine with these values, which is how every model of ours is."""


@dataclass(frozen=True)
class Family:
    """What is particular to one family.

    Attributes:
        architecture: class of the causal language model in transformers.
        biases: names of the fields that say which biases there are.
        windows: names of the fields of sliding windows.
        optional: fields of our config that may be set.
        always: fields of our config that are always set.
        implied: values that absent fields have; others have the same in every family.
    """

    architecture: str
    biases: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    implied: Mapping[str, int] = field(default_factory=dict)


FAMILIES = {
    "qwen2": Family(
        "Qwen2ForCausalLM",
        windows=EACH_LAYER,
        optional=("window",),
        always=("qkv_bias",),
        implied={"num_key_value_heads": 32},
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        biases=("attention_bias",),
        windows=EACH_LAYER,
        optional=("window", "qkv_bias", "output_bias"),
        always=("qk_norm",),
        implied={"num_key_value_heads": 32, "head_dim": 128},
    ),
    "llama": Family(
        "LlamaForCausalLM",
        biases=("attention_bias", "mlp_bias"),
        optional=("qkv_bias", "output_bias", "mlp_bias"),
    ),
    "mistral": Family(
        "MistralForCausalLM",
        windows=ONE,
        optional=("window",),
        implied={"num_key_value_heads": 8},
    ),
}


def model_of(document: Mapping[str, Any], where: str, dtype: Dtype | None) -> TransformerConfig:
    """Our configuration of the model that a config.json describes.

    Args:
        document: what is in config.json.
        where: the file, for messages.
        dtype: to compute in; None takes the file's (`dtype` or `torch_dtype`, which must be known
            in any case), and float32 for float16.

    Raises:
        InputError: a family that we do not know, a field that is missing, malformed, unknown or
            asks for something our model does not do; names it and its value.
    """
    fields = Fields(document, where)
    name = fields.text("model_type", tuple(FAMILIES))
    family = FAMILIES[name]
    _check_names(fields, family)
    sizes = {ours: fields.integer(theirs) for ours, theirs in _SIZES.items() if ours != "layers"}
    layers = fields.integer("num_hidden_layers", most=MOST_LAYERS)
    heads = sizes["heads"]
    kv_heads = heads
    if "num_key_value_heads" in fields.values or "num_key_value_heads" not in fields.names:
        implied = family.implied.get("num_key_value_heads", heads)
        kv_heads = fields.integer("num_key_value_heads", implied)
    head_size = fields.integer("head_dim", family.implied.get("head_dim"))
    if head_size is None:
        if sizes["width"] % heads:
            raise fields.refuse(
                "hidden_size", f"num_attention_heads ({heads}) does not divide it: give head_dim"
            )
        head_size = sizes["width"] // heads
    fields.text("hidden_act", ("silu", "swish"), "silu")
    rope_base, rope_scaling = read_rope(fields)
    window, window_layers = read_windows(fields, family.windows, layers)
    stored = _dtype(fields)
    attention_bias = "attention_bias" in family.biases and fields.flag("attention_bias")
    return TransformerConfig(
        **sizes,
        layers=layers,
        kv_heads=kv_heads,
        head_size=head_size,
        qkv_bias=attention_bias or "qkv_bias" in family.always,
        output_bias=attention_bias,
        mlp_bias="mlp_bias" in family.biases and fields.flag("mlp_bias"),
        qk_norm="qk_norm" in family.always,
        tied=fields.flag("tie_word_embeddings"),
        rope_base=rope_base,
        rope_scaling=rope_scaling,
        norm_epsilon=fields.number("rms_norm_eps", 1e-6),
        window=window,
        window_layers=window_layers,
        dtype=dtype or stored,
    )


def _check_names(fields: Fields, family: Family) -> None:
    architectures = fields.values.get("architectures", [family.architecture])
    if architectures != [family.architecture]:
        raise fields.refuse("architectures", f"only {[family.architecture]} can be imported")
    for name, value in fields.values.items():
        if name in {*_READ, *family.biases, *family.windows, *HARMLESS}:
            continue
        if name in ("auto_map", "trust_remote_code"):
            raise fields.refuse(
                name,
                "code that comes with weights is never executed, and the model that it defines is "
                "not known: remove the field if it is that of the family",
            )
        if name not in _ONLY:
            raise fields.refuse(
                name,
                "it is not known what that changes in the model, so that it is not imported; "
                "remove the field if it changes nothing",
            )
        if value not in _ONLY[name]:
            allowed = " or ".join(map(repr, _ONLY[name]))
            raise fields.refuse(name, f"{family.architecture} is imported with {allowed} only")


def _dtype(fields: Fields) -> Dtype:
    known = ("float32", "bfloat16", "float16")
    own = fields.text("dtype", known, None) or fields.text("torch_dtype", known, "float32")
    # float16 holds values that bfloat16 does not.
    return "bfloat16" if own == "bfloat16" else "float32"


def document_of(
    model: TransformerConfig, name: str, settings: Mapping[str, Any], dtype: str
) -> dict[str, Any]:
    """config.json of a model, as transformers 4 and 5 load it.

    Args:
        model: its configuration.
        name: of the family.
        settings: what an imported config.json held; fields that say nothing of the shape are kept.
        dtype: of the weights.

    Raises:
        InputError: the family has no such model; names the field.
    """
    check_family(model, name)
    family = FAMILIES[name]
    kept = {key: value for key, value in settings.items() if key in HARMLESS}
    if "max_position_embeddings" in settings:
        kept["max_position_embeddings"] = settings["max_position_embeddings"]
    document = {
        **kept,
        "model_type": name,
        "architectures": [family.architecture],
        **{theirs: getattr(model, ours) for ours, theirs in _SIZES.items()},
        "num_key_value_heads": model.kv_heads,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon,
        "tie_word_embeddings": model.tied,
        "torch_dtype": dtype,
        **rope_document(model),
    }
    if name != "qwen2" or model.head_size * model.heads != model.width:
        document["head_dim"] = model.head_size  # published files of Qwen2 do not have it
    ours = {"attention_bias": model.qkv_bias, "mlp_bias": model.mlp_bias}
    document |= {theirs: ours[theirs] for theirs in family.biases}
    return document | window_document(model, family.windows, settings)


def check_family(model: TransformerConfig, name: str) -> None:
    """Whether a family has models like this one.

    Raises:
        InputError: it has not, or there is no such family; names what differs.
    """
    if name not in FAMILIES:
        raise InputError(f"family {name!r} is unknown; expected one of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    if model.attention != "causal":
        raise InputError(f"model.attention is {model.attention!r}; {name} models are 'causal'")
    for part in ("qkv_bias", "output_bias", "mlp_bias", "qk_norm", "window"):
        value = getattr(model, part)
        if part in family.always and not value:
            raise InputError(f"model.{part} is {value}; {name} models always have it")
        if value and part not in family.always + family.optional:
            raise InputError(f"model.{part} is {value}; {name} models have none")
    if "output_bias" in family.optional and model.qkv_bias != model.output_bias:
        raise InputError(
            f"model.qkv_bias is {model.qkv_bias} and model.output_bias {model.output_bias}; "
            f"{name} models have both or neither"
        )
    if name == "llama" and model.width % model.heads:
        raise InputError(
            f"model.heads {model.heads} do not divide model.width {model.width}; transformers "
            "loads no such llama model"
        )
    if model.window_layers and family.windows != EACH_LAYER:
        raise InputError(
            f"model.window_layers is {model.window_layers}; {name} models have one window for all"
        )


def fitting_family(model: TransformerConfig) -> str:
    """The family that a model of ours can be exported as.

    Raises:
        InputError: there is none; says why for each.
    """
    reasons = []
    for name in FAMILIES:
        try:
            check_family(model, name)
        except InputError as error:
            reasons.append(f"{name}: {error}")
        else:
            return name
    raise InputError(f"no family of published models has one like this ({'; '.join(reasons)})")

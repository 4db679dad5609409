"""What stands beside the weights of a LLaDA: its config.json, and what headers of files keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxreason.errors import FailureError, InputError
from jaxreason.models.attention import MASK_MODES, MaskMode
from jaxreason.models.config import MOST_LAYERS, TransformerConfig
from jaxreason.paths import as_path
from jaxreason.weights.config_fields import Fields, read_document
from jaxreason.weights.families import HARMLESS
from jaxreason.weights.folders import open_weights

# field of our config -> its name in LLaDA's config.json, and its type
_FIELDS: dict[str, tuple[str, type]] = {
    "layers": ("n_layers", int),
    "width": ("d_model", int),
    "heads": ("n_heads", int),
    "kv_heads": ("n_kv_heads", int),
    "mlp_width": ("mlp_hidden_size", int),
    "rope_base": ("rope_theta", float),
    "norm_epsilon": ("rms_norm_eps", float),
}
# The one architecture that the published weights have; fields that are absent are taken as these.
_FIXED = {
    "block_type": "llama",
    "activation_type": "silu",
    "layer_norm_type": "rms",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
    "rope_full_precision": True,
}
# What the architecture could be besides; not written.
_ONLY = {
    "layer_norm_with_affine": True,
    "bias_for_layer_norm": False,
    "multi_query_attention": False,
    "clip_qkv": None,
    "block_group_size": 1,
}
_HARMLESS = HARMLESS | {
    # How it was initialised and trained, how torch runs it, what the code is called; kept.
    *("mlp_ratio", "alibi_bias_max", "flash_attention", "attention_layer_norm_with_affine"),
    *("residual_dropout", "embedding_dropout", "max_sequence_length", "precision", "auto_map"),
    *("init_device", "init_fn", "init_std", "init_cutoff_factor", "gradient_checkpointing"),
    *("torch_dtype", "dtype", "mask_token_id"),
    # MMaDA's counts of ids, which its training code reads.
    *("llm_vocab_size", "llm_model_path", "codebook_size", "num_vq_tokens"),
    *("num_new_special_tokens", "new_vocab_size"),
}
_IDS = ("mask", "eos", "eot")
# Besides those, what `llada_settings` writes.
_WRITTEN = {"model_type", "architectures", "weight_tying", "vocab_size", "embedding_size"}
_EMBEDDING = "model.transformer.wte.weight"


@dataclass(frozen=True)
class LladaMetadata:
    """What the weights alone do not tell, kept in the headers of the files we write.

    Attributes:
        mask_mode: how padding was treated when the model was trained, see `AttentionSpec`.
            Published files do not say; LLaDA and the released MMaDA checkpoints were trained with
            padding in full view, so `full` is what reproduces them.
        image_offset: id of image code 0; None for a model of text alone and for published files,
            which do not hold it (it is the length of the tokenizer, not of the vocabulary).
        image_codes: number of image codes; 0 for a model of text alone.
        mask: id of the mask token; published files do not hold these ids.
        eos: id that ends a text.
        eot: id that ends a turn.

    Raises:
        InputError: unknown mask mode, or an offset, a number or an id below 0.
    """

    mask_mode: MaskMode = "full"
    image_offset: int | None = None
    image_codes: int = 0
    mask: int | None = None
    eos: int | None = None
    eot: int | None = None

    def __post_init__(self) -> None:
        if self.mask_mode not in MASK_MODES:
            raise InputError(f"mask_mode {self.mask_mode!r} is unknown; expected {MASK_MODES}")
        if (self.image_offset or 0) < 0 or self.image_codes < 0:
            raise InputError(
                f"image_offset {self.image_offset} and image_codes {self.image_codes} must not be "
                "negative"
            )
        for name in _IDS:
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must not be negative")

    def texts(self) -> dict[str, str]:
        """As the headers of safetensors files hold it."""
        texts = {"mask_mode": self.mask_mode, "image_codes": str(self.image_codes)}
        known = {name: getattr(self, name) for name in ("image_offset", *_IDS)}
        return texts | {name: str(value) for name, value in known.items() if value is not None}


def llada_metadata(path: str | Path) -> LladaMetadata:
    """What is kept beside the weights; the defaults for published files, which keep nothing.

    Raises:
        FailureError: the texts in the header are not what we write.
    """
    texts = open_weights(path).metadata
    try:
        known = {name: int(texts[name]) for name in ("image_offset", *_IDS) if name in texts}
        return LladaMetadata(
            texts.get("mask_mode", "full"),  # type: ignore[arg-type]
            image_codes=int(texts.get("image_codes", "0")),
            **known,
        )
    except ValueError as error:
        raise FailureError(f"{path} has damaged metadata: {error}") from error


def llada_config(path: str | Path, **changes: Any) -> TransformerConfig:
    """The shape of a checkpoint, from its config.json and the rows of its embedding.

    Args:
        path: folder with config.json and safetensors files.
        **changes: fields to set otherwise, such as `dtype` and `remat`.

    Raises:
        InputError: config.json describes another architecture, the weights lack the embedding.
        FailureError: there is no config.json, or a field of it is missing or no number.
    """
    file = as_path(path) / "config.json"
    stored = read_document(file)
    given = Fields(stored, str(file))
    try:
        heads = given.integer("n_heads")
        numbers: dict[str, Any] = {"n_kv_heads": given.integer("n_kv_heads", heads)}
        numbers["n_layers"] = given.integer("n_layers", most=MOST_LAYERS)
        for theirs, kind in _FIELDS.values():
            if theirs not in numbers:
                read = given.integer if kind is int else given.number
                numbers[theirs] = kind(read(theirs))
        tied = given.flag("weight_tying")
    except InputError as error:
        raise FailureError(f"{file} cannot be read as the shape of a LLaDA: {error}") from error
    fields = {ours: numbers[theirs] for ours, (theirs, _) in _FIELDS.items()}
    head_size = numbers["d_model"] // heads
    _check_architecture(given)
    shapes = open_weights(path).shapes
    if _EMBEDDING not in shapes:
        raise InputError(f"weights {path} lack {_EMBEDDING!r}: they are not in LLaDA's layout")
    settings: dict[str, Any] = {
        "vocabulary_size": shapes[_EMBEDDING][0],
        "head_size": head_size,
        "tied": tied,
        "attention": "bidirectional",
    }
    return TransformerConfig(**(settings | fields | changes))


def _check_architecture(given: Fields) -> None:
    """Refuse another architecture, and what nothing is known of."""
    for field, expected in (_FIXED | _ONLY).items():
        if field in given.values and given.values[field] != expected:
            raise given.refuse(field, f"only {expected!r} can be imported")
    known = {theirs for theirs, _ in _FIELDS.values()} | _FIXED.keys() | _ONLY.keys()
    for field in sorted(given.values.keys() - known - _WRITTEN - _HARMLESS):
        raise given.refuse(
            field,
            "it is not known what that changes in the model, so that it is not imported; remove "
            "the field if it changes nothing",
        )


def other_settings(path: str | Path) -> dict[str, Any]:
    """What config.json of a checkpoint says besides the shape, such as `max_sequence_length`.

    Its `auto_map` is among it, for those who load an export with the published code; here no code
    of a folder is ever executed.
    """
    stored = read_document(as_path(path) / "config.json")
    ours = {theirs for theirs, _ in _FIELDS.values()} | _FIXED.keys() | _WRITTEN
    return {name: value for name, value in stored.items() if name not in ours}


def llada_settings(config: TransformerConfig) -> dict[str, Any]:
    """What LLaDA's config.json says of a model of this shape.

    Raises:
        InputError: the model is not bidirectional, or its heads do not make up the width; LLaDA's
            code takes both for granted.
    """
    if config.attention != "bidirectional":
        raise InputError(
            f"model.attention is {config.attention!r}; LLaDA's code runs all models as "
            "'bidirectional'"
        )
    if config.heads * config.head_size != config.width:
        raise InputError(
            f"model.heads {config.heads} of model.head_size {config.head_size} do not make up "
            f"model.width {config.width}, as LLaDA's layout needs"
        )
    return {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        **{theirs: getattr(config, ours) for ours, (theirs, _) in _FIELDS.items()},
        **_FIXED,
        "weight_tying": config.tied,
        "vocab_size": config.vocabulary_size,
        "embedding_size": config.vocabulary_size,
    }

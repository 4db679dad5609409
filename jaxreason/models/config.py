"""The shape and numerics of a transformer."""

from dataclasses import dataclass
from typing import Literal

from jaxreason.errors import InputError
from jaxreason.models.attention import Kind
from jaxreason.models.backends import BACKENDS, Backend
from jaxreason.models.lora import LoraConfig
from jaxreason.models.rope import RopeScaling

MOST_LAYERS = 10_000
"""More are a mistake, whose arrays and tables would fill the memory before it is noticed."""

Remat = Literal["none", "dots", "names", "full"]


@dataclass(frozen=True)
class TransformerConfig:
    """Shape and numerics of a transformer.

    Attributes:
        vocabulary_size: V, number of token ids; 0 leaves it to the data, see `MazeExperiment`.
        layers: number of blocks.
        width: D, size of the residual stream.
        heads: H, query heads.
        kv_heads: G, key-value heads; divides `heads`.
        head_size: K, size of one head (even).
        mlp_width: F, inner size of the SwiGLU.
        qkv_bias: biases on queries, keys and values (Qwen2).
        tied: the output head is the embedding table.
        attention: the default attention kind.
        rope_base: base of the rotary frequencies.
        norm_epsilon: added to the mean square in RMSNorm.
        dtype: compute dtype inside a block; parameters, norms, softmax and logits stay float32.
        remat: what the backward pass keeps: everything (`none`), matrix products (`dots`), the
            named tensors of each block (`names`), only block inputs (`full`).
        unroll: blocks unrolled per scan iteration; `layers` unrolls all, and decoding
            then reads cached keys and values without copying them first.
        backend: attention kernel, see `jaxreason.models.backends`.
        qk_norm: RMSNorm over each head's queries and keys before they are rotated (Qwen3).
        output_bias: a bias after the heads are joined (Llama's `attention_bias`, with `qkv_bias`).
        mlp_bias: biases on all three products of the SwiGLU (Llama's `mlp_bias`).
        rope_scaling: changes the rotary frequencies for longer contexts; None leaves them.
        window: sliding window, in tokens: a token sees itself and the `window` - 1 before it; 0
            lets it see everything before it. Needs causal attention.
        window_layers: for each layer whether it has the window; empty for all of them.
        lora: low-rank updates beside the kernels, which alone are trained; None for none.

    Raises:
        InputError: a size that does not fit the others.
    """

    vocabulary_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    mlp_width: int
    qkv_bias: bool = False
    tied: bool = True
    attention: Kind = "causal"
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Remat = "none"
    unroll: int = 1
    backend: Backend = "auto"
    qk_norm: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    rope_scaling: RopeScaling | None = None
    window: int = 0
    window_layers: tuple[bool, ...] = ()
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "kv_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.layers > MOST_LAYERS:
            raise InputError(f"model.layers is {self.layers}; expected at most {MOST_LAYERS:,}")
        if self.heads % self.kv_heads:
            raise InputError(
                f"model.kv_heads {self.kv_heads} does not divide model.heads {self.heads}"
            )
        if self.head_size < 2 or self.head_size % 2:
            raise InputError(
                f"model.head_size is {self.head_size}; rotary embedding needs an even size"
            )
        if not self.rope_base > 1:
            raise InputError(f"model.rope_base is {self.rope_base}; it must be above 1")
        if self.backend not in BACKENDS:
            raise InputError(f"model.backend {self.backend!r} is unknown; expected {BACKENDS}")
        if not 1 <= self.unroll <= self.layers:
            raise InputError(
                f"model.unroll is {self.unroll}; expected 1 to model.layers ({self.layers})"
            )
        self._check_window()

    def _check_window(self) -> None:
        if self.window < 0:
            raise InputError(f"model.window is {self.window}; expected tokens, or 0 for none")
        if self.window and self.attention != "causal":
            raise InputError(
                f"model.window is {self.window} and model.attention {self.attention!r}; a sliding "
                "window needs 'causal'"
            )
        count = len(self.window_layers)
        if count and (not self.window or count != self.layers):
            raise InputError(
                f"model.window_layers names {count} layers; expected model.layers "
                f"({self.layers}) of them, and a model.window above 0 (it is {self.window})"
            )

    @property
    def windows(self) -> tuple[int, ...]:
        """Of each layer, in tokens; 0 for none."""
        wanted = self.window_layers or (True,) * self.layers
        return tuple(self.window if each else 0 for each in wanted)

"""wav2vec 2.0, and what differs from it by settings: HuBERT, UniSpeech, data2vec."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.spec_augment import SpecAugmented
from mmjax.encoders.speech_frames import ConvNorm, SpeechFrames, frame_mask
from mmjax.encoders.speech_positions import ConvPositions, PositionNorm
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import Activation, dense, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.transformer import Block, Mlp, Norm

_ADAPTER_EPS = 1e-5


class AdapterBlock(Block, kw_only=True):
    """A block that ends with a small MLP of its own, with a residual and a norm before it."""

    adapter_dim: int

    def end(self, values: Float[Array, "b n d"], *, train: bool) -> Float[Array, "b n d"]:
        types = self.types()
        adapter = Mlp(hidden=self.adapter_dim, activation="relu", name="adapter", **types)
        norm = layer_norm(name="adapter_norm", eps=_ADAPTER_EPS, **types)
        return values + adapter(norm(values), train=train)


class Wav2Vec2(SpecAugmented, kw_only=True):
    """wav2vec 2.0's encoder (Baevski et al. 2020): a waveform to frames of 20 ms at 16 kHz.

    Convolutions, a projection, positions by convolution, blocks. Its parameters are those of
    transformers' `Wav2Vec2Model`, one for one; `norm="post"` is its base, `norm="pre"` its
    `do_stable_layer_norm`. `attention_mask` says which samples are sound and must be True first;
    frames beyond them are 0 before the blocks and masked in `Tokens`. `pooled` is the mean of the
    valid frames. With `conv_norm="group"` the padding still counts in the first normalisation, as
    it does there.

    In training, `mask_time_*` and `mask_feature_*` hide spans of frames and of channels (rng stream
    "mask"); `mask_time_indices` [b t] gives the frames instead. Hidden frames become a learned
    vector, or 0 without `mask_embedding`. `adapter_layers` strided convolutions may end the
    encoder, and small layers of width `attention_adapter` each block, as MMS has one a language.
    Raises ConfigError for a waveform shorter than one frame.
    """

    norm: Norm = "post"
    eps: float = 1e-5
    conv_channels: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_norm: ConvNorm = "group"
    conv_bias: bool = False
    conv_activation: Activation = "gelu"
    project_norm: bool = True
    project_dropout: float = 0.0
    position_kernel: int = 128
    position_groups: int = 16
    position_norm: PositionNorm = "weight"
    position_depth: int = 1
    mlp_dropout: float = 0.1
    layer_drop: float = 0.0
    mask_embedding: bool = True
    attention_adapter: int = 0
    adapter_layers: int = 0
    adapter_width: int = 0
    adapter_kernel: int = 3
    adapter_stride: int = 2

    @nn.compact
    def __call__(
        self,
        input_values: Float[ArrayLike, "b s"],
        attention_mask: Bool[ArrayLike, "b s"] | Int[ArrayLike, "b s"] | None = None,
        mask_time_indices: Bool[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = self.types()
        frames = SpeechFrames(
            channels=self.conv_channels,
            kernels=self.conv_kernels,
            strides=self.conv_strides,
            norm=self.conv_norm,
            use_bias=self.conv_bias,
            activation=self.conv_activation,
            name="frames",
            **types,
        )
        values = frames(jnp.asarray(input_values, self.dtype))
        kernels, strides = self.conv_kernels, self.conv_strides
        mask = frame_mask(attention_mask, values, kernels, strides)
        if self.project_norm:
            values = layer_norm(name="project_norm", eps=self.eps, **types)(values)
        values = dense(self.width, ("embed", "joined"), name="project", **types)(values)
        values = nn.Dropout(self.project_dropout, deterministic=not train)(values)
        values = self._hide(values, mask, mask_time_indices, train)
        values = jnp.where(mask[..., None], values, 0)
        values = values + ConvPositions(
            kernel=self.position_kernel,
            groups=self.position_groups,
            norm=self.position_norm,
            depth=self.position_depth,
            activation=self.conv_activation,
            name="positions",
            **types,
        )(values, train=train)
        if self.norm == "post":
            values = layer_norm(name="embeddings_norm", eps=self.eps, **types)(values)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        values = self.blocks(values, mask, train=train)
        if self.adapter_layers:
            values = self._adapt(values)
            # The lengths of transformers are those of kernels of 1, whatever theirs are.
            kernels += (1,) * self.adapter_layers
            strides += (self.adapter_stride,) * self.adapter_layers
            mask = frame_mask(attention_mask, values, kernels, strides)
        return Tokens(values, mask, masked_mean(values, mask))

    def blocks(
        self, values: Float[Array, "b t d"], mask: Bool[Array, "b t"], *, train: bool
    ) -> Float[Array, "b t d"]:
        """Frames with their positions, through the blocks; to be called in a compact method."""
        options = self.block_options()
        if self.attention_adapter:
            options |= {
                "block": AdapterBlock,
                "block_options": {"adapter_dim": self.attention_adapter},
            }
        return self.transformer(**options)(values, mask, train=train)

    def block_options(self) -> dict[str, Any]:
        """Settings of the blocks that encoders of other kinds do not have."""
        return {"mlp_dropout": self.mlp_dropout, "layer_drop": self.layer_drop}

    def _hide(
        self, values: Array, mask: Array, indices: ArrayLike | None, train: bool
    ) -> Float[Array, "b t d"]:
        hidden: Array | float = 0.0
        if self.mask_embedding:
            hidden = parameter(
                self,
                "mask_embedding",
                (self.width,),
                ("embed",),
                init=nn.initializers.uniform(1.0),
                **self.types(),
            )
        if indices is None:
            values = self.hide_frames(values, mask, hidden, train=train)
        else:
            values = jnp.where(jnp.asarray(indices)[..., None], hidden, values)
        return self.hide_channels(values, train=train)

    def _adapt(self, values: Array) -> Float[Array, "b t d"]:
        types = self.types()
        width = self.adapter_width or self.width
        if width != self.width:
            values = dense(width, ("embed", "joined"), name="adapter_project", **types)(values)
            values = layer_norm(name="adapter_norm", eps=_ADAPTER_EPS, **types)(values)
        for index in range(self.adapter_layers):
            values = conv1d(
                2 * width,
                kernel=self.adapter_kernel,
                stride=self.adapter_stride,
                padding=1,
                name=f"adapter_{index}",
                **types,
            )(values)
            values = jax.nn.glu(values)
        return values


class Wav2Vec2Base(Wav2Vec2, kw_only=True):
    """`wav2vec2-base`: 12 layers of width 768."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_dim: int = 3072
    scan: bool = True

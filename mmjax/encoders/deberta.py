"""DeBERTa-v2 and v3: attention that looks at contents and relative positions apart."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.kernels.attention import attention
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, embedding, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block, Mlp, Norm


@struct.dataclass
class Relative:
    """Vectors of relative positions, and which one each query and key have between them."""

    vectors: Float[Array, "r d"]
    index: Int[Array, "n n"]


class DisentangledAttention(nn.Module, kw_only=True):
    """Content to content, content to position and position to content (He et al. 2021, eq. 4).

    The logits are divided by sqrt(head_dim * number of terms). With `share_keys`, positions are
    projected as contents are. Weights `b k n n` are sown as `intermediates/weights`.
    """

    heads: int
    content_to_position: bool = True
    position_to_content: bool = True
    share_keys: bool = False
    dropout: float = 0.0
    position_dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        relative: Relative | None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        width = values.shape[-1]
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def project(name: str) -> nn.DenseGeneral:
            axes = ("embed", "heads", "head_dim")
            return dense((self.heads, width // self.heads), axes, name=name, **types)

        query, key = project("query"), project("key")
        queries, keys = query(values), key(values)
        terms = 1 + self.content_to_position + self.position_to_content
        scale = 1.0 / math.sqrt(width // self.heads * terms)
        bias = None
        if relative is not None:
            vectors = nn.Dropout(self.position_dropout, deterministic=not train)(relative.vectors)
            bias = jnp.zeros((), jnp.float32)
            if self.content_to_position:
                make = key if self.share_keys else project("position_key")
                bias = bias + _looked_up(queries * scale, make(vectors), relative.index)
            if self.position_to_content:
                make = query if self.share_keys else project("position_query")
                turned = _looked_up(keys * scale, make(vectors), relative.index.T)
                bias = bias + turned.swapaxes(-1, -2)
        use_dropout = train and self.dropout > 0.0
        output, weights = attention(
            queries,
            keys,
            project("value")(values),
            mask=mask[:, None, None, :],
            bias=bias,
            scale=scale,
            dropout_rate=self.dropout,
            dropout_key=self.make_rng("dropout") if use_dropout else None,
            return_weights=self.is_mutable_collection("intermediates"),
        )
        if weights is not None:
            self.sow("intermediates", "weights", weights)
        axes = ("heads", "head_dim", "embed")
        return dense(width, axes, contract=(-2, -1), name="out", **types)(output)


def _looked_up(
    contents: Float[Array, "b n k h"], positions: Float[Array, "r k h"], index: Int[Array, "n m"]
) -> Float[Array, "b k n m"]:
    """The product of each content with the position at each entry of its row of `index`."""
    products = jnp.einsum("bnkh,rkh->bknr", contents, positions, preferred_element_type=jnp.float32)
    return jnp.take_along_axis(products, index[None, None], axis=-1)


class DebertaBlock(Block, kw_only=True):
    """`nn.transformer.Block` around `DisentangledAttention`."""

    content_to_position: bool = True
    position_to_content: bool = True
    share_keys: bool = False

    @nn.compact
    def __call__(  # type: ignore[override]
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b n"],
        relative: Relative | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        attend = DisentangledAttention(
            heads=self.heads,
            content_to_position=self.content_to_position,
            position_to_content=self.position_to_content,
            share_keys=self.share_keys,
            dropout=self.attention_dropout,
            position_dropout=self.dropout,
            name="attention",
            **self.types(),
        )
        mlp = Mlp(hidden=self.mlp_dim, activation=self.activation, name="mlp", **self.types())
        values = self._residual(
            values, lambda x: attend(x, mask, relative, train=train), "attention", train
        )
        return self._residual(values, lambda x: mlp(x, train=train), "mlp", train)


class Deberta(TransformerEncoder, kw_only=True):
    """DeBERTa (He et al. 2021) in its versions 2 and 3; `pooled` is the tokens' mean.

    Its parameters are those of transformers' `DebertaV2Model`, one for one. Relative positions
    reach `max_distance` and share `buckets` vectors a side, or have one each where `buckets` is 0.
    `positions` adds absolute ones to the words. `conv_kernel` above 0 adds a convolution of the
    words to the first layer's output.
    """

    vocab_size: int = fact()
    max_length: int = fact()
    norm: Norm = "post"
    eps: float = 1e-7
    segments: int = 0
    positions: bool = False
    embedding_width: int | None = None
    relative: bool = True
    max_distance: int = 512
    buckets: int = 256
    relative_norm: bool = True
    content_to_position: bool = True
    position_to_content: bool = True
    share_keys: bool = True
    conv_kernel: int = 0
    conv_groups: int = 1
    conv_activation: Activation = "tanh"

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"],
        token_type_ids: Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        mask = jnp.asarray(attention_mask, bool)
        length = input_ids.shape[1]
        values = self._table("words", self.vocab_size, input_ids)
        if self.positions:
            given = jnp.arange(length)[None] if position_ids is None else position_ids
            values = values + self._table("positions", self.max_length, given)
        if self.segments:
            given = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            values = values + self._table("segments", self.segments, given)
        if self.embedding_width is not None:
            axes = ("embed", "joined")
            values = dense(self.width, axes, use_bias=False, name="projection", **self.types())(
                values
            )
        values = jnp.where(mask[..., None], self._norm("embeddings_norm")(values), 0)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        context = (mask, self._relative(length) if self.relative else None)
        if self.conv_kernel:
            first = self._stack("first", 1)(values, *context, train=train)
            values = self._convolved(values, first, mask, train)
            values = self._stack("stack", self.depth - 1)(values, *context, train=train)
        else:
            values = self._stack("stack", self.depth)(values, *context, train=train)
        return Tokens(values, mask, masked_mean(values, mask))

    def _norm(self, name: str) -> nn.LayerNorm:
        return layer_norm(name=name, eps=self.eps, **self.types())

    def _table(self, name: str, count: int, ids: ArrayLike) -> Float[Array, "b n d"]:
        axes = ("vocab" if name == "words" else "tokens", "embed")
        width = self.embedding_width or self.width
        return embedding(count, width, axes=axes, name=name, **self.types())(jnp.asarray(ids))

    def _relative(self, length: int) -> Relative:
        span = self.buckets or self.max_distance
        init = nn.initializers.normal(0.02)
        vectors = parameter(
            self,
            "relative_positions",
            (2 * span, self.width),
            ("tokens", "embed"),
            init=init,
            **self.types(),
        )
        if self.relative_norm:
            vectors = self._norm("relative_norm")(vectors)
        distances = np.arange(1 - length, length)
        if self.buckets:
            distances = log_buckets(distances, self.buckets, self.max_distance)
        rows = jnp.asarray(np.clip(distances + span, 0, 2 * span - 1), jnp.int32)
        places = jnp.arange(length)
        return Relative(vectors, rows[places[:, None] - places + length - 1])

    def _stack(self, name: str, depth: int) -> Stack:
        own: dict[str, Any] = {
            "content_to_position": self.content_to_position,
            "position_to_content": self.position_to_content,
            "share_keys": self.share_keys,
        }
        return Stack(
            block=DebertaBlock,
            settings={**self.block_settings(), **own},
            depth=depth,
            scan=self.scan,
            remat=self.remat,
            name=name,
        )

    def _convolved(self, words: Array, first: Array, mask: Array, train: bool) -> Array:
        reach = (self.conv_kernel - 1) // 2
        output = conv1d(
            self.width,
            kernel=self.conv_kernel,
            padding=reach,
            groups=self.conv_groups,
            name="conv",
            **self.types(),
        )(words)
        output = jnp.where(mask[..., None], output, 0)
        output = nn.Dropout(self.dropout, deterministic=not train)(output)
        values = self._norm("conv_norm")(first + ACTIVATIONS[self.conv_activation](output))
        return jnp.where(mask[..., None], values, 0)


def log_buckets(distances: np.ndarray, buckets: int, longest: int) -> np.ndarray:
    """Distances as they are up to half the buckets, then on a logarithmic scale to `longest`.

    transformers' `make_log_bucket_position`, in float32 as there: rounding decides at the borders.
    """
    middle = buckets // 2
    far = np.maximum(np.abs(distances), middle).astype(np.float32)
    scale = np.log(np.float32((longest - 1) / middle))
    steps = np.ceil(np.log(far / np.float32(middle)) / scale * np.float32(middle - 1)) + middle
    return np.where(far == middle, distances, steps * np.sign(distances)).astype(np.int32)

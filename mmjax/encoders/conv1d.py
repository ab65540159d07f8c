"""A temporal convolution network."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.convolution import conv1d
from mmjax.nn.dense import dense
from mmjax.nn.norms import layer_norm
from mmjax.nn.pooling import Pooling, pool
from mmjax.nn.temporal import fold_time, shorter_mask, stream_of, whole_mask, without_padding


class Conv1D(nn.Module, kw_only=True):
    """TCN (Bai et al. 2018): residual blocks of two dilated convolutions over time.

    Block i has `channels[i]` channels and dilation `2 ** i`; layer norm over the channels stands in
    for weight normalisation. `causal` convolutions see the past alone, as in the paper, others as
    much of both sides. Padding is 0 before every convolution, so that it is as if a row ended
    there. A waveform, or any stream with `fold` above 1, is read `fold` positions at a time (None:
    1, and 160 samples of a waveform, 10 ms at 16 kHz); a token is valid where any of its positions
    is. Tokens have the width of the last block; `pooled` is their mean, their maximum, or the last.
    """

    channels: tuple[int, ...] = (64, 64, 128, 128)
    kernel: int = 3
    fold: int | None = None
    causal: bool = False
    pooling: Pooling = "mean"
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        input_features: Float[ArrayLike, "b t c"] | None = None,
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        input_values: Float[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        values = stream_of(input_features, input_values, "conv1d").astype(self.dtype)
        mask = whole_mask(attention_mask, values)
        fold = self.fold or (1 if input_values is None else 160)
        values = fold_time(without_padding(values, mask), fold)
        mask = shorter_mask(mask, fold)
        for index in range(len(self.channels)):
            values = self._block(values, mask, index, train)
        return Tokens(values, mask, pool(values, mask, self.pooling))

    def _block(self, values: Array, mask: Array, index: int, train: bool) -> Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        channels, dilation = self.channels[index], 2**index
        reach = (self.kernel - 1) * dilation
        padding = (reach, 0) if self.causal else (reach - reach // 2, reach // 2)
        branch = values
        for part in range(2):
            name = f"block_{index}_conv_{part}"
            branch = conv1d(
                channels,
                kernel=self.kernel,
                dilation=dilation,
                padding=padding,
                name=name,
                **types,
            )(without_padding(branch, mask))
            branch = nn.relu(layer_norm(name=f"{name}_norm", **types)(branch))
            branch = nn.Dropout(self.dropout, deterministic=not train)(branch)
        if values.shape[-1] != channels:
            values = dense(channels, ("embed", "joined"), name=f"block_{index}_skip", **types)(
                values
            )
        return nn.relu(values + branch)

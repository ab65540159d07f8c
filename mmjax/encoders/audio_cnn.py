"""A convolutional network over log-mel spectrograms."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.convolution import check_groups, conv
from mmjax.nn.dense import dense
from mmjax.nn.norms import group_norm
from mmjax.nn.pooling import masked_max, masked_mean
from mmjax.nn.temporal import counted, mean_over_time, shorter_mask, whole_mask, without_padding


class AudioCNN(nn.Module, kw_only=True):
    """The CNNs of PANNs (Kong et al. 2020, as their Cnn10 and Cnn14), with group norm.

    A stage is two 3 x 3 convolutions, each with norm and ReLU, and an average over 2 frames and 2
    mel bins. Then the mean over what is left of the bins, and a dense layer with ReLU: the tokens,
    one a `2 ** len(channels)` frames. `pooled` is the mean and the maximum over time added up, and
    a second dense layer with ReLU. Padded frames are 0 before every convolution and count in no
    average and no norm; a token is valid where any of its frames is. Raises ConfigError for fewer
    mel bins than the stages halve, and for groups that do not divide the channels.
    """

    channels: tuple[int, ...] = (32, 64, 128, 128)
    width: int = 128
    groups: int = 8
    dropout: float = 0.0
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        input_features: Float[ArrayLike, "b t f"],
        attention_mask: Bool[ArrayLike, "b t"] | Int[ArrayLike, "b t"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        self._check(input_features.shape[2])
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = jnp.asarray(input_features, self.dtype)[..., None]
        mask = whole_mask(attention_mask, values)
        for stage, channels in enumerate(self.channels):
            for part in range(2):
                name = f"stage_{stage}_conv_{part}"
                values = conv(channels, name=name, **types)(without_padding(values, mask))
                norm = group_norm(name=f"{name}_norm", groups=self.groups, **types)
                values = nn.relu(norm(values, mask=counted(mask, values)))
            values = mean_over_time(_halve_bins(values), mask, 2)
            mask = shorter_mask(mask, 2)
            values = nn.Dropout(self.dropout, deterministic=not train)(values)
        tokens = dense(self.width, ("embed", "joined"), name="tokens", **types)(values.mean(axis=2))
        tokens = nn.relu(tokens)
        pooled = masked_mean(tokens, mask) + masked_max(tokens, mask)
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        pooled = nn.relu(dense(self.width, ("embed", "joined"), name="pooled", **types)(pooled))
        return Tokens(tokens, mask, jnp.where(mask.any(axis=1)[:, None], pooled, 0))

    def _check(self, bins: int) -> None:
        least = 2 ** len(self.channels)
        if bins < least:
            raise ConfigError(
                109,
                f"{bins} mel bins are too few for the {len(self.channels)} stages of audio_cnn",
                fix=f"at least {least} bins, or fewer channels=(...)",
            )
        check_groups(self.channels, self.groups, "audio_cnn")


def _halve_bins(values: Float[Array, "b t f c"]) -> Float[Array, "b t g c"]:
    """The mean of each two bins; an odd last one is cut."""
    bins = values.shape[2] // 2 * 2
    return (values[:, :, 0:bins:2] + values[:, :, 1:bins:2]) / 2

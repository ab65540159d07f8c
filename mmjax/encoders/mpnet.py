"""MPNet: a text transformer with biases by distance."""

from __future__ import annotations

from mmjax.core.typing import Array, Bool, Float
from mmjax.encoders.text_transformer import Positions, TextTransformer
from mmjax.nn.relative_bias import RelativeBias


class MPNet(TextTransformer, kw_only=True):
    """MPNet (Song et al. 2020): RoBERTa's positions, and a bias by distance that all layers share.

    Its parameters are those of transformers' `MPNetModel`, one for one.
    """

    positions: Positions = "after_padding"
    padding_id: int = 1
    segments: int = 0

    def blocks(
        self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        relative = RelativeBias(heads=self.heads, name="relative_bias", **self.types())
        bias = relative(values.shape[1])
        return self.transformer()(values, mask, None, None, bias, train=train)

"""RoFormer: a text transformer with rotary positions."""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.core.typing import Array, Bool, Float
from mmjax.encoders.text_transformer import Positions, TextTransformer
from mmjax.nn.lm_block import LMBlock, Places
from mmjax.nn.rotary import rotary_angles, rotary_frequencies
from mmjax.nn.stack import Stack


class RoFormer(TextTransformer, kw_only=True):
    """RoFormer (Su et al. 2021): queries and keys are turned by their place in the row.

    `rotate_values` turns the values too. `position_ids` are not used, as in transformers.
    """

    positions: Positions = "none"
    rotate_values: bool = False

    def blocks(
        self, values: Float[Array, "b n d"], mask: Bool[Array, "b n"], *, train: bool
    ) -> Float[Array, "b n d"]:
        frequencies = rotary_frequencies(self.width // self.heads)
        angles = rotary_angles(jnp.arange(values.shape[1])[None], frequencies)
        own = {"interleaved": True, "rotate_values": self.rotate_values}
        stack = Stack(
            block=LMBlock,
            settings={**self.block_settings(), **own},
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )
        return stack(values, Places(mask[:, None, None, :], angles=angles), train=train)

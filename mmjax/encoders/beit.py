"""BEiT: a vision transformer whose attention knows how far apart two patches are."""

from __future__ import annotations

from typing import Literal

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.encoders.vit import ViT
from mmjax.nn.grid_bias import GridBias
from mmjax.nn.norms import layer_norm
from mmjax.nn.stack import Stack
from mmjax.nn.transformer import Block, growing


class RelativeBlock(Block, kw_only=True):
    """A block with a relative position bias of its own.

    Learned for a grid of `window` patches behind a class token, used on one of `grid`.
    """

    window: tuple[int, int]
    grid: tuple[int, int]

    def bias_of(
        self, values: Float[Array, "b n d"], bias: Float[Array, "#b #k #n n"] | None
    ) -> Float[Array, "#b #k #n n"]:
        own = GridBias(
            heads=self.heads,
            window=self.window,
            grid=self.grid,
            class_token=True,
            name="relative_positions",
            **self.types(),
        )()
        return own if bias is None else bias + own


class BEiT(ViT, kw_only=True):
    """BEiT (Bao et al. 2022): ViT with layer scale and relative positions, without key biases.

    Its parameters are those of transformers' `BeitModel`. `relative` positions are learned in each
    layer and `shared_relative` ones once for all, for pictures of `image_size`; they are
    interpolated linearly for others. `drop_path` grows from 0 in the first block to its value in
    the last. Raises ConfigError for `keep` with relative positions.
    """

    use_bias: bool | tuple[str, ...] = ("query", "value", "out")
    layer_scale: float | None = 0.1
    learned_positions: bool = False
    relative: bool = True
    shared_relative: bool = False
    final_norm: bool = False
    pooling: Literal["cls", "pooler", "mean", "normed_mean"] = "normed_mean"

    def encode(self, values: Array, grid: tuple[int, int], *, train: bool) -> Array:
        window = self.window(grid)
        if values.shape[1] != 1 + grid[0] * grid[1] and (self.relative or self.shared_relative):
            raise ConfigError(
                109,
                "BEiT's relative positions are those of all patches, and some were left out",
                fix="give it no `keep`, or choose the encoder 'vit'",
            )
        settings = {**self.block_settings(), "layer_scale": self.layer_scale, "gated": self.gated}
        bias = None
        if self.shared_relative:
            bias = GridBias(
                heads=self.heads,
                window=window,
                grid=grid,
                class_token=True,
                name="relative_positions",
                **self.types(),
            )()
        if self.relative:
            settings |= {"window": window, "grid": grid}
        stack = Stack(
            block=RelativeBlock if self.relative else Block,
            settings=settings,
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )
        layerwise = (growing(self.depth),) if train and self.drop_path > 0.0 else ()
        values = stack(values, None, None, None, bias, layerwise=layerwise, train=train)
        if not self.final_norm:
            return values
        return layer_norm(name="norm", eps=self.eps, **self.types())(values)

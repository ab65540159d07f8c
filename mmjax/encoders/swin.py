"""Swin: attention within windows that shift from block to block."""

from __future__ import annotations

import functools
from typing import Any

import einops
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float
from mmjax.nn.attention import Attention
from mmjax.nn.dense import Activation, dense, parameter
from mmjax.nn.grid_bias import GridBias
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.pooling import masked_mean
from mmjax.nn.stack import Remat, Stack
from mmjax.nn.transformer import Mlp, drop_path

_EPS = 1e-5


class WindowSettings(nn.Module, kw_only=True):
    """What a block with windows, and a pair of such blocks, are told alike."""

    heads: int
    window: int
    mlp_dim: int
    activation: Activation = "gelu"
    use_bias: bool | tuple[str, ...] = True
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


class WindowBlock(WindowSettings, kw_only=True):
    """Attention within windows of `window` x `window` positions, then an MLP, both pre-norm.

    With `shifted`, windows start half a window later; those that then reach over the border attend
    only to their own side. Where a side is no longer than a window there is no shift, and windows
    shrink to it. A border that does not fill a window is filled up with zeros behind the norm,
    which are attended to, as in transformers.
    """

    shifted: bool = False

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b h w c"],
        drop_path_rate: Float[Array, ""] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        def branch(output: Array, dropout: float) -> Array:
            output = nn.Dropout(dropout, deterministic=not train)(output)
            if not train or drop_path_rate is None:
                return output
            return drop_path(output, self.make_rng("dropout"), drop_path_rate)

        norm = functools.partial(layer_norm, eps=self.eps, **self.types())
        hidden = self._attend(norm(name="attention_norm")(values), train=train)
        values = values + branch(hidden, self.attention_dropout)
        mlp = Mlp(hidden=self.mlp_dim, activation=self.activation, name="mlp", **self.types())
        hidden = mlp(norm(name="mlp_norm")(values), train=train)
        return values + branch(hidden, self.dropout)

    def _attend(self, values: Float[Array, "b h w c"], *, train: bool) -> Array:
        batch, rows, columns, _ = values.shape
        size = min(self.window, rows, columns)
        shift = self.window // 2 if self.shifted and min(rows, columns) > self.window else 0
        values = jnp.pad(values, ((0, 0), (0, -rows % size), (0, -columns % size), (0, 0)))
        height, width = values.shape[1:3]
        mask = None
        if shift:
            values = jnp.roll(values, (-shift, -shift), axis=(1, 2))
            together = same_side((height, width), size, shift)
            mask = jnp.tile(jnp.asarray(together)[:, None], (batch, 1, 1, 1))
        bias = GridBias(
            heads=self.heads,
            window=(self.window, self.window),
            grid=(size, size),
            name="relative_positions",
            **self.types(),
        )()
        attention = Attention(
            heads=self.heads,
            use_bias=self.use_bias,
            dropout=self.attention_dropout,
            name="attention",
            **self.types(),
        )
        windows = to_windows(values, size)
        windows = attention(windows, mask=mask, bias=bias, train=train)
        values = einops.rearrange(
            windows,
            "(b y x) (p q) c -> b (y p) (x q) c",
            y=height // size,
            x=width // size,
            p=size,
        )
        if shift:
            values = jnp.roll(values, (shift, shift), axis=(1, 2))
        return values[:, :rows, :columns]


def to_windows(values: Float[Array, "b h w c"], size: int) -> Float[Array, "v n c"]:
    """The windows of all rows of a batch, each row's own together."""
    return einops.rearrange(values, "b (y p) (x q) c -> (b y x) (p q) c", p=size, q=size)


def same_side(grid: tuple[int, int], size: int, shift: int) -> Bool[np.ndarray, "v n n"]:
    """Which positions of each shifted window were neighbours before the shift."""

    def sides(length: int) -> np.ndarray:
        position = np.arange(length)
        return (position >= length - size).astype(int) + (position >= length - shift)

    side = 3 * sides(grid[0])[:, None] + sides(grid[1])[None]
    windows = einops.rearrange(side, "(y p) (x q) -> (y x) (p q)", p=size, q=size)
    return windows[:, :, None] == windows[:, None, :]


class WindowPair(WindowSettings, kw_only=True):
    """A block, and one with shifted windows."""

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b h w c"],
        drop_path_rates: Float[Array, "2"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b h w c"]:
        settings = {
            name: getattr(self, name)
            for name in WindowSettings.__dataclass_fields__
            if name not in ("parent", "name")
        }
        for index, name in enumerate(("plain", "shifted")):
            block = WindowBlock(**settings, shifted=bool(index), name=name)
            rate = None if drop_path_rates is None else drop_path_rates[index]
            values = block(values, rate, train=train)
        return values


class PatchMerging(nn.Module, kw_only=True):
    """Each 2 x 2 square as one position of twice the width; an odd border is filled with zeros."""

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "b h w c"]) -> Float[Array, "b y x d"]:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        rows, columns, width = values.shape[1:]
        values = jnp.pad(values, ((0, 0), (0, rows % 2), (0, columns % 2), (0, 0)))
        values = einops.rearrange(values, "b (y p) (x q) c -> b y x (q p c)", p=2, q=2)
        values = layer_norm(name="norm", eps=_EPS, **types)(values)
        return dense(2 * width, ("patch", "embed"), use_bias=False, name="projection", **types)(
            values
        )


class Swin(nn.Module, kw_only=True):
    """Swin transformer (Liu et al. 2021): stages of windowed attention, patches merged in between.

    Its parameters are those of transformers' `SwinModel`. Tokens are the positions of the last
    stage after the final norm, row by row; `pooled` is their mean. Pictures of any size will do: a
    border that does not fill a patch is filled up with zeros. `drop_path` grows from 0 in the first
    block to its value in the last. Patches that `bool_masked_pos` marks are replaced by the learned
    `mask_token`. Raises ConfigError unless every stage has a depth and heads, and for masked
    patches without a mask token.
    """

    patch: int | tuple[int, int] = 4
    width: int = 96
    """Of the first stage; each has twice that of the one before."""
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    mlp_ratio: float = 4.0
    activation: Activation = "gelu"
    use_bias: bool | tuple[str, ...] = True
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.1
    mask_token: bool = False
    scan: bool = False
    remat: Remat = "none"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        pixel_values: Float[ArrayLike, "b h w c"],
        bool_masked_pos: Bool[ArrayLike, "b p"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        if len(self.heads) != len(self.depths):
            raise ConfigError(
                109,
                f"{len(self.heads)} numbers of heads for {len(self.depths)} stages",
                fix="one number each a stage, such as depths=(2, 2) heads=(2, 4)",
            )
        values = self._embed(jnp.asarray(pixel_values, self.dtype), bool_masked_pos)
        values = nn.Dropout(self.dropout, deterministic=not train)(values)
        rates = np.linspace(0, self.drop_path, sum(self.depths), dtype=np.float32)
        for stage, depth in enumerate(self.depths):
            if stage:
                merge = PatchMerging(
                    name=f"stage_{stage}_merge", dtype=self.dtype, param_dtype=self.param_dtype
                )
                values = merge(values)
            values = self._stage(stage, values, rates[:depth], train=train)
            rates = rates[depth:]
        tokens = einops.rearrange(values, "b h w c -> b (h w) c")
        tokens = layer_norm(
            name="norm", eps=self.eps, dtype=self.dtype, param_dtype=self.param_dtype
        )(tokens)
        mask = jnp.ones(tokens.shape[:2], bool)
        return Tokens(tokens, mask, masked_mean(tokens, mask))

    def _embed(
        self, pixels: Float[Array, "b h w c"], masked: Bool[ArrayLike, "b p"] | None
    ) -> Float[Array, "b y x d"]:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        size = (self.patch, self.patch) if isinstance(self.patch, int) else self.patch
        height, width = pixels.shape[1:3]
        pixels = jnp.pad(pixels, ((0, 0), (0, -height % size[0]), (0, -width % size[1]), (0, 0)))
        rows, columns = patch_grid(pixels.shape[1:3], size)
        values = PatchEmbed(patch=size, width=self.width, name="patches", **types)(pixels)
        values = layer_norm(name="patches_norm", eps=_EPS, **types)(values)
        if self.mask_token:
            init, axes = nn.initializers.normal(0.02), (None, "tokens", "embed")
            stand_in = parameter(self, "mask_token", (1, 1, self.width), axes, init=init, **types)
            if masked is not None:
                values = jnp.where(jnp.asarray(masked, bool)[..., None], stand_in, values)
        elif masked is not None:
            raise ConfigError(109, "bool_masked_pos without a mask token", fix="mask_token=True")
        return einops.rearrange(values, "b (h w) c -> b h w c", h=rows, w=columns)

    def _stage(self, stage: int, values: Array, rates: np.ndarray, *, train: bool) -> Array:
        """Pairs of blocks, and a single one at the end of an odd depth."""
        settings = {
            "heads": self.heads[stage],
            "window": self.window,
            "mlp_dim": int(self.mlp_ratio * values.shape[-1]),
            "activation": self.activation,
            "use_bias": self.use_bias,
            "eps": self.eps,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        pairs = len(rates) // 2
        drops = train and self.drop_path > 0.0
        stack = Stack(
            block=WindowPair,
            settings=settings,
            depth=pairs,
            scan=self.scan and pairs > 0,
            remat=self.remat,
            name=f"stage_{stage}",
        )
        layerwise = (jnp.asarray(rates[: 2 * pairs].reshape(pairs, 2)),) if drops else ()
        values = stack(values, layerwise=layerwise, train=train)
        if len(rates) % 2:
            last = WindowBlock(**settings, name=f"stage_{stage}_last")
            values = last(values, jnp.asarray(rates[-1]) if drops else None, train=train)
        return values

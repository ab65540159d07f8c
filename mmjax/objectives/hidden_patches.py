"""Patches that the encoder does not see, and the decoder that guesses what was there."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, ArrayLike, Bool, Dtype, Float, Int
from mmjax.encoders.fields import taken
from mmjax.nn.dense import dense, parameter
from mmjax.nn.masking import random_masking, restore_tokens
from mmjax.nn.patches import patch_grid
from mmjax.nn.positions import sincos_grid
from mmjax.nn.transformer import Transformer
from mmjax.objectives.base import Context, Fields, Objective, Request, require_modalities

_PADDED = ("attention_mask", "frame_mask")
"""Fields that say where an input ends."""


def space_of(fields: Mapping[str, ArrayLike]) -> Float[Array, "b ... c"]:
    """What the patches are cut from: a picture [b h w c], a video [b t h w c], bands [b f t 1].

    Of several pictures of one thing the first. Raises ConfigError for fields that have none.
    """
    if "input_features" in fields:
        return jnp.asarray(fields["input_features"]).mT[..., None]
    if "pixel_values" not in fields:
        raise ConfigError(
            109,
            f"patches of {', '.join(fields)}",
            fix="a modality of pictures or videos, or of sounds with features='log_mel'",
        )
    pixels = jnp.asarray(fields["pixel_values"])
    return pixels[:, 0] if views_of(fields) > 1 else pixels


def views_of(fields: Mapping[str, ArrayLike]) -> int:
    """How many pictures a row has, which are not the frames of a video."""
    pixels = fields.get("pixel_values")
    if pixels is None or pixels.ndim == 4 or "frame_mask" in fields:
        return 1
    return pixels.shape[1]


def kept_cells(grid: Sequence[int], mask_ratio: float) -> int:
    """How many cells of one frame stay, int(n (1 - ratio)) as in MAE, but one at least.

    Raises ConfigError where nothing is left to hide.
    """
    cells = math.prod(grid[-2:])
    if not 0.0 < mask_ratio < 1.0 or cells < 2:
        raise ConfigError(
            109,
            f"mask_ratio = {mask_ratio} of {cells} patches",
            where="objectives.mask_ratio",
            fix="a share between 0 and 1, of two patches or more",
        )
    return max(1, int(cells * (1 - mask_ratio)))


def hide_patches(
    fields: Fields,
    keys: Array,
    *,
    patch: int | tuple[int, ...],
    mask_ratio: float,
    region: int = 1,
) -> tuple[Fields, Fields]:
    """`fields` with `keep`, the places of the patches that stay; and `restore` as in `Masking`.

    Drawn evenly, as many in each row, from a key a row; with a `region`, patches are hidden
    together with those that many cells around them. In a video the same cells of all frames are
    hidden: tubes (Tong et al. 2022), since a patch is seldom unlike the one before it.
    """
    space = space_of(fields)
    grid = patch_grid(space.shape[1:-1], patch)
    kept, frames = kept_cells(grid, mask_ratio), math.prod(grid[:-2])
    noise = jax.vmap(lambda key: jax.random.uniform(key, grid[-2:]))(keys)
    noise = smoothed(noise, region).reshape(len(noise), -1)
    # Equal noise keeps its order, so the cells that stay do so in all frames.
    masking = random_masking(jnp.tile(noise, (1, frames)), frames * kept)
    given = {**fields, "keep": masking.keep}
    if views_of(fields) > 1:
        given["pixel_values"] = space
    return given, {"restore": masking.restore}


def smoothed(noise: Float[Array, "b h w"], region: int) -> Float[Array, "b h w"]:
    """Uniform noise averaged over squares of `region` cells, at the border over what is there.

    Its spread is the same everywhere, so that no place is hidden more often.
    """
    if region == 1:
        return noise
    window, ones = (1, region, region), jnp.ones((1, *noise.shape[1:]))

    def added(x: Array) -> Array:
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1, 1, 1), "SAME")

    return added(noise - 0.5) / jnp.sqrt(added(ones))


class PatchDecoder(nn.Module, kw_only=True):
    """MAE's decoder: the tokens that were kept and stand-ins for the others, all at their places.

    Positions are fixed sines and cosines of the grid; `extra` tokens before the patches have none.
    Returns `features` numbers a patch.
    """

    features: int
    width: int
    depth: int
    heads: int
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        kept: Float[Array, "b m d"],
        restore: Int[Array, "b n"],
        grid: tuple[int, ...],
        mask: Bool[Array, "b _"] | None = None,
        *,
        extra: int,
        train: bool,
    ) -> Float[Array, "b n p"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        values = dense(self.width, ("embed", "joined"), name="narrow", **types)(kept)
        init = nn.initializers.normal(0.02)
        stand_in = parameter(self, "mask_token", (self.width,), ("embed",), init=init, **types)
        values = restore_tokens(values, restore, stand_in, extra=extra)
        places = sincos_grid(grid, self.width, extra_tokens=extra)
        values = Transformer(
            heads=self.heads,
            mlp_dim=4 * self.width,
            depth=self.depth,
            name="transformer",
            **types,
        )(values + places.astype(values.dtype), mask, train=train)
        return dense(self.features, ("embed", "patch"), name="out", **types)(values[:, extra:])


class HiddenPatches(Objective, kw_only=True):
    """What objectives share that hide most patches of a modality from its encoder.

    The encoder takes `keep` (`vit`, `video_transformer`, `spectrogram_transformer`) and sees the
    other patches only, so a step costs a fraction of a whole forward. `patch` is the encoder's own:
    its patches must not overlap, and lie side by side.
    """

    modality: str = "image"
    patch: int | tuple[int, ...] = 16
    """Height and width of a patch; of a video, frames come first; of a sound, bands and frames."""
    mask_ratio: float = 0.75
    """The share of the patches that is hidden."""
    region: int = 1
    """The side, in patches, of what is hidden together; 1 hides each patch for itself."""
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16

    batch_coupled: ClassVar[bool] = False

    @property
    def hidden(self) -> str:
        """The name of the forward that does not see all patches; equal ones are made once."""
        return f"{self.modality}/hidden_{self.mask_ratio:g}_{self.region}"

    def requests(self) -> dict[str, Request]:
        corrupt = functools.partial(
            hide_patches, patch=self.patch, mask_ratio=self.mask_ratio, region=self.region
        )
        return {self.hidden: Request(self.modality, corrupt)}

    def check(self, encoders: Mapping[str, nn.Module]) -> None:
        require_modalities((self.modality,), tuple(encoders), "objectives.modality")
        encoder = type(encoders[self.modality])
        if "keep" not in taken(encoder.__call__):
            raise ConfigError(
                109,
                f"the encoder {encoder.__name__} of '{self.modality}' cannot leave patches out",
                where=f"model.encoders.{self.modality}",
                fix="one that takes `keep`: vit, video_transformer or spectrogram_transformer",
            )

    def guess(
        self, context: Context, features: int, *, train: bool
    ) -> tuple[Float[Array, "b n p"], Bool[Array, "b n"]]:
        """What the decoder says of each patch, and which of them count: those that were hidden."""
        encoded, whole = context.encoded[self.hidden], context.tokens(self.modality)
        fields = context.batch.inputs[self.modality]
        grid = patch_grid(space_of(fields).shape[1:-1], self.patch)
        count = math.prod(grid)
        kept = math.prod(grid[:-2]) * kept_cells(grid, self.mask_ratio)
        extra = encoded.tokens.values.shape[1] - kept
        found = whole.values.shape[1] // views_of(fields) - extra
        if found != count:
            raise ConfigError(
                109,
                f"patch={self.patch} cuts '{self.modality}' into {count} patches, its encoder "
                f"into {found}",
                where="objectives.patch",
                fix="the patch of the encoder, whose strides are as long as its patches",
            )
        decoder = PatchDecoder(
            features=features,
            width=self.decoder_width,
            depth=self.decoder_depth,
            heads=self.decoder_heads,
            name="decoder",
            **self.types(),
        )
        restore = encoded.labels["restore"]
        valid = whole.mask[:, : extra + count]
        padded = any(name in fields for name in _PADDED)
        guess = decoder(
            encoded.tokens.values,
            restore,
            grid,
            valid if padded else None,
            extra=extra,
            train=train,
        )
        counts = (restore >= kept) & valid[:, extra:] & context.rows(self.modality)[:, None]
        return guess, counts

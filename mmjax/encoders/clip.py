"""The two towers of CLIP, each an encoder of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int
from mmjax.encoders.base import TransformerEncoder
from mmjax.encoders.seq2seq import valid
from mmjax.nn.attention import causal_mask
from mmjax.nn.dense import Activation, embedding, parameter
from mmjax.nn.norms import layer_norm
from mmjax.nn.patches import PatchEmbed, patch_grid
from mmjax.nn.positions import resize_positions


class ClipVision(TransformerEncoder, kw_only=True):
    """CLIP's vision transformer (Radford et al. 2021): a norm before the blocks, none behind them.

    Its parameters are those of transformers' `CLIPVisionModel`, one for one. `pooled` is the class
    token, normalised. Positions are learned for square pictures of `image_size` pixels and
    interpolated for others, as transformers does with `interpolate_pos_encoding=True`.
    """

    image_size: int = fact()
    patch: int = 32
    activation: Activation = "quick_gelu"
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(self, pixel_values: Float[ArrayLike, "b h w c"], *, train: bool) -> Tokens:
        types = self.types()
        pixels = jnp.asarray(pixel_values, self.dtype)
        patches = PatchEmbed(
            patch=self.patch, width=self.width, use_bias=False, name="patches", **types
        )(pixels)
        init = nn.initializers.normal(0.02)
        first = parameter(self, "class_token", (self.width,), ("embed",), init=init, **types)
        first = jnp.broadcast_to(first, (patches.shape[0], 1, self.width))
        values = jnp.concatenate([first, patches], axis=1)
        values = values + square_positions(self, pixels, extra_tokens=1)
        values = layer_norm(name="embeddings_norm", eps=self.eps, **types)(values)
        values = self.transformer(final_norm=False)(values, train=train)
        pooled = layer_norm(name="pooled_norm", eps=self.eps, **types)(values[:, 0])
        return Tokens(values, jnp.ones(values.shape[:2], bool), pooled)


class ClipText(TransformerEncoder, kw_only=True):
    """CLIP's text transformer: causal, with `pooled` at the end-of-text token.

    Its parameters are those of transformers' `CLIPTextModel`, one for one. `pooling="end"` takes
    the first token that is `end_id`, `"highest"` the one with the highest id, which is the end of
    text in CLIP's own vocabulary (transformers does so where `eos_token_id` is 2).
    """

    causal: ClassVar[bool] = True
    vocab_size: int = fact()
    max_length: int = fact()
    end_id: int = 49407
    pooling: Literal["end", "highest"] = "end"
    activation: Activation = "quick_gelu"
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        input_ids: Int[ArrayLike, "b n"],
        attention_mask: Bool[ArrayLike, "b n"] | Int[ArrayLike, "b n"] | None = None,
        position_ids: Int[ArrayLike, "#b n"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        ids = jnp.asarray(input_ids)
        mask = valid(attention_mask, ids)
        values = word_vectors(self, ids, position_ids)
        values = self.transformer()(values, causal_mask(mask), train=train)
        place = jnp.argmax(ids == self.end_id if self.pooling == "end" else ids, axis=1)
        pooled = jnp.take_along_axis(values, place[:, None, None], axis=1)[:, 0]
        return Tokens(values, mask, pooled)


def square_positions(
    module: Any, pixels: Float[Array, "b h w c"], *, extra_tokens: int = 0
) -> Float[Array, "1 n d"]:
    """Learned positions of a vision tower, for the grid of these pixels."""
    side = module.image_size // module.patch
    table = parameter(
        module,
        "positions",
        (side * side + extra_tokens, module.width),
        ("tokens", "embed"),
        init=nn.initializers.normal(0.02),
        **module.types(),
    )
    rows, columns = patch_grid(pixels.shape[1:3], module.patch)
    return resize_positions(table[None], (side, side), (rows, columns), extra_tokens=extra_tokens)


def word_vectors(
    module: Any, ids: Int[Array, "b n"], position_ids: Int[ArrayLike, "#b n"] | None
) -> Float[Array, "b n d"]:
    """Words and learned positions, in a compact method of a text tower."""
    if position_ids is None:
        position_ids = jnp.arange(ids.shape[1])[None]
    types = module.types()
    words = embedding(module.vocab_size, module.width, name="words", **types)
    positions = embedding(
        module.max_length, module.width, axes=("tokens", "embed"), name="positions", **types
    )
    return words(ids) + positions(jnp.asarray(position_ids))

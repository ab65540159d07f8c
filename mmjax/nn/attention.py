"""Multi-head attention, self and cross."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Bool, Dtype, Float, Int
from mmjax.kernels.attention import attention
from mmjax.nn.cache import caching, once, remember
from mmjax.nn.dense import dense


def causal_mask(
    mask: Bool[Array, "b m"], first: Int[Array, ""] | None = None, count: int | None = None
) -> Bool[Array, "b 1 n m"]:
    """Which valid keys each query may look at: those up to its own place.

    Queries are at all places, or with `first` at the `count` places from it on.
    """
    length = mask.shape[1]
    if first is None or count is None:
        return mask[:, None, None, :] & jnp.tri(length, dtype=bool)
    places = first + jnp.arange(count)
    return mask[:, None, None, :] & (jnp.arange(length) <= places[:, None])


KeyMask = Bool[Array, "b m"] | Bool[Array, "#b #k #n m"]
"""Which keys are valid, or which each query may look at."""


class Attention(nn.Module, kw_only=True):
    """Multi-head attention (Vaswani et al. 2017) of queries over a context.

    Returns the width of the queries. `mask` says which keys are valid (`b m`), or which a query may
    look at; a query without a valid key gets exactly 0, output bias included, so a missing modality
    adds nothing. A `context` in segments, such as the tokens of several modalities, has a `mask`
    for each; one softmax runs over all. `bias` is added to the logits, which are scaled by `scale`,
    1 / sqrt(head_dim) if None. `use_bias` is True, False, or the projections that have one. The
    weights `b k n m` are computed and sown as `intermediates/weights` where that collection is
    mutable. Where `cache` is, keys and values are kept from step to step (`nn.cache`), and `mask`
    is that of the queries over all slots. Raises ConfigError if the heads do not divide the width.
    """

    heads: int
    head_dim: int | None = None
    use_bias: bool | tuple[str, ...] = True
    scale: float | None = None
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "b n d"],
        context: Float[Array, "b m c"] | Sequence[Float[Array, "b _ c"]] | None = None,
        *,
        mask: KeyMask | Sequence[Bool[Array, "b _"]] | None = None,
        bias: Float[Array, "#b #k #n m"] | None = None,
        train: bool,
    ) -> Float[Array, "b n d"]:
        width = queries.shape[-1]
        own = context is None
        context = queries if context is None else context
        if self.head_dim is None and width % self.heads:
            valid = [heads for heads in range(1, width + 1) if width % heads == 0]
            near = sorted(valid, key=lambda heads: abs(heads - self.heads))[:2]
            raise ConfigError(
                109,
                f"heads={self.heads} do not divide the width {width}",
                fix=f"the nearest valid: {' or '.join(map(str, sorted(near)))}",
            )
        head_dim = self.head_dim or width // self.heads
        segments = tuple(context) if isinstance(context, Sequence) else (context,)
        masks = tuple(mask) if isinstance(mask, Sequence) else (mask,) * len(segments)
        masks = tuple(
            one[:, None, None] if one is not None and one.ndim == 2 else one for one in masks
        )

        def project(name: str) -> nn.Module:
            return dense(
                (self.heads, head_dim),
                ("embed", "heads", "head_dim"),
                use_bias=self._has_bias(name),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )

        query, key, value = map(project, ("query", "key", "value"))

        def project_context() -> tuple[tuple[Array, ...], tuple[Array, ...]]:
            return tuple(map(key, segments)), tuple(map(value, segments))

        if not caching(self):
            keys, values = project_context()
        elif own and masks[0] is not None:
            new = project_context()
            *kept, first_mask, bias = remember(self, new[0][0], new[1][0], masks[0], bias)
            keys, values, masks = (kept[0],), (kept[1],), (first_mask,)
        else:
            keys, values = once(self, project_context)
        use_dropout = train and self.dropout > 0.0
        output, weights = attention(
            query(queries),
            keys,
            values,
            mask=masks,
            bias=bias,
            scale=self.scale,
            dropout_rate=self.dropout,
            dropout_key=self.make_rng("dropout") if use_dropout else None,
            return_weights=self.is_mutable_collection("intermediates"),
        )
        if weights is not None:
            self.sow("intermediates", "weights", weights)
        output = dense(
            width,
            ("heads", "head_dim", "embed"),
            contract=(-2, -1),
            use_bias=self._has_bias("out"),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="out",
        )(output)
        found = [one.any(axis=(1, 3)) for one in masks if one is not None]
        if len(found) < len(masks):
            return output
        return jnp.where(functools.reduce(jnp.logical_or, found)[..., None], output, 0)

    def _has_bias(self, name: str) -> bool:
        return self.use_bias if isinstance(self.use_bias, bool) else name in self.use_bias

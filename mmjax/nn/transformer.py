"""The transformer block and its stack."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from mmjax.core.typing import Array, Bool, Dtype, Float
from mmjax.nn.attention import Attention, KeyMask
from mmjax.nn.dense import ACTIVATIONS, Activation, dense, parameter
from mmjax.nn.norms import UnitOffsetRMSNorm, layer_norm, rms_norm
from mmjax.nn.stack import Remat, Stack
from mmjax.parallel.sharding import spread

Norm = Literal["pre", "post"]
NormKind = Literal["layer", "layer_unbiased", "rms", "rms_unit_offset"]


NORMS: dict[str, Callable[..., nn.Module]] = {
    "layer": layer_norm,
    "layer_unbiased": functools.partial(layer_norm, use_bias=False),
    "rms": rms_norm,
    "rms_unit_offset": UnitOffsetRMSNorm,
}


class Mlp(nn.Module, kw_only=True):
    """Dense, activation, dense, back to the input's width.

    With `gated`, the activation multiplies a second projection of the input (GLU variants, Shazeer
    2020).
    """

    hidden: int
    activation: Activation = "gelu"
    gated: bool = False
    use_bias: bool = True
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, values: Float[Array, "*b d"], *, train: bool) -> Float[Array, "*b d"]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype, "use_bias": self.use_bias}
        hidden = dense(self.hidden, ("embed", "mlp"), name="up", **types)(values)
        if self.gated:
            gate = dense(self.hidden, ("embed", "mlp"), name="gate", **types)(values)
            hidden = ACTIVATIONS[self.activation](gate) * hidden
        else:
            hidden = ACTIVATIONS[self.activation](hidden)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        return dense(values.shape[-1], ("mlp", "embed"), name="down", **types)(hidden)


def drop_path(
    values: Float[Array, "b ..."], key: Array, rate: float | Float[Array, ""]
) -> Float[Array, "b ..."]:
    """Stochastic depth (Huang et al. 2016): a branch is left out for whole rows."""
    one_each = (values.shape[0], *[1] * (values.ndim - 1))
    keep = jax.random.bernoulli(key, 1.0 - rate, one_each)
    return jnp.where(keep, values / (1.0 - rate), 0)


def growing(depth: int) -> Float[Array, "layers"]:
    """How much of a rate each block has that grows from 0 in the first to all in the last."""
    return jnp.linspace(0.0, 1.0, depth)


class BlockSettings(nn.Module, kw_only=True):
    """What a block and a stack of blocks are told alike.

    `norm="pre"` normalises the input of each part (ViT, GPT-2), `"post"` the sum after it (BERT).
    `layer_scale` is the first value of learned gains on each branch (Touvron et al. 2021), None for
    no gains. In training, `drop_path` leaves whole branches out a row, `layer_drop` the whole block
    for all rows (LayerDrop, Fan et al. 2020). `use_bias` is that of the attention (True, False or
    the projections that have one), `mlp_bias` that of the MLP.
    """

    heads: int
    mlp_dim: int
    head_dim: int | None = None
    norm: Norm = "pre"
    norm_kind: NormKind = "layer"
    activation: Activation = "gelu"
    gated: bool = False
    use_bias: bool | tuple[str, ...] = True
    mlp_bias: bool = True
    attention_scale: float | None = None
    layer_scale: float | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    drop_path: float = 0.0
    layer_drop: float = 0.0
    eps: float = 1e-6
    self_attention: bool = True
    cross_attention: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def types(self) -> dict[str, Dtype]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def make_norm(self, name: str) -> nn.Module:
        return NORMS[self.norm_kind](name=name, eps=self.eps, **self.types())


class Block(BlockSettings, kw_only=True):
    """Self-attention, optional cross-attention, MLP, each with a residual and a norm.

    `mask` and `context_mask` say which keys are valid, or which each query may look at; a context
    may be in segments. `bias` is added to the logits of the self-attention. `drop_share` is how
    much of `drop_path` is meant for this block; None is all.
    """

    cross_first: ClassVar[bool] = False
    """Whether the cross-attention comes before the self-attention."""

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b s"] | Bool[Array, "#b #k #n s"] | None = None,
        context: Float[Array, "b m c"] | Sequence[Float[Array, "b _ c"]] | None = None,
        context_mask: KeyMask | Sequence[Bool[Array, "b _"]] | None = None,
        bias: Float[Array, "#b #k #n s"] | None = None,
        drop_share: Float[Array, ""] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        attend: dict[str, Any] = {
            "heads": self.heads,
            "head_dim": self.head_dim,
            "use_bias": self.use_bias,
            "scale": self.attention_scale,
            "dropout": self.attention_dropout,
            **self.types(),
        }
        given = values
        parts: dict[str, Callable[[Array], Array]] = {}
        if self.self_attention:
            own = Attention(**attend, name="attention")
            parts["attention"] = lambda x: own(
                x, mask=mask, bias=self.bias_of(x, bias), train=train
            )
        if self.cross_attention:
            cross = Attention(**attend, name="cross_attention")
            seen = self.context_of(context)
            parts["cross_attention"] = lambda x: cross(x, seen, mask=context_mask, train=train)
        for name in reversed(parts) if self.cross_first else parts:
            values = self._residual(values, parts[name], name, train, drop_share)
        mlp = Mlp(
            hidden=self.mlp_dim,
            activation=self.activation,
            gated=self.gated,
            use_bias=self.mlp_bias,
            dropout=self.mlp_dropout,
            name="mlp",
            **self.types(),
        )
        values = self._residual(values, lambda x: mlp(x, train=train), "mlp", train, drop_share)
        return self._unless_dropped(self.end(values, train=train), given, train)

    def end(self, values: Float[Array, "b n d"], *, train: bool) -> Float[Array, "b n d"]:
        """What the block returns of the sum of its parts: the sum."""
        return values

    def bias_of(
        self, values: Float[Array, "b n d"], bias: Float[Array, "#b #k #n _"] | None
    ) -> Float[Array, "#b #k #n _"] | None:
        """What is added to the logits of the self-attention of `values`: `bias` as it is given."""
        return bias

    def context_of(self, context: Any) -> Any:
        """What the cross-attention looks at: the context as it is given."""
        return context

    def _unless_dropped(self, values: Array, given: Array, train: bool) -> Array:
        """LayerDrop: what was given, where the whole block is left out."""
        if not train or self.layer_drop == 0.0:
            return values
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - self.layer_drop)
        return jnp.where(kept, values, given)

    def _residual(
        self, values: Array, part, name: str, train: bool, drop_share: Array | None = None
    ) -> Array:
        norm = self.make_norm(f"{name}_norm")
        # A value of its own, so that what the part's projections give back to it is added before it
        # joins the residual's gradient: over `tensor` one sum is sent, not one for each projection.
        given = norm(values) if self.norm == "pre" else spread(values)
        output = checkpoint_name(part(given), name)
        output = self._branch(output, name, train, drop_share)
        return values + output if self.norm == "pre" else norm(values + output)

    def _branch(
        self, output: Array, name: str, train: bool, drop_share: Array | None = None
    ) -> Array:
        """What of a part's output is added: after dropout, gains and drop path."""
        output = nn.Dropout(self.dropout, deterministic=not train)(output)
        if self.layer_scale is not None:
            gain = parameter(
                self,
                f"{name}_scale",
                (output.shape[-1],),
                ("norm",),
                init=nn.initializers.constant(self.layer_scale),
                **self.types(),
            )
            output = output * gain
        if train and self.drop_path > 0.0:
            rate = self.drop_path if drop_share is None else self.drop_path * drop_share
            output = drop_path(output, self.make_rng("dropout"), rate)
        return output


class Transformer(BlockSettings, kw_only=True):
    """A stack of blocks, with a final norm when the blocks normalise first."""

    depth: int
    final_norm: bool | None = None
    """None means where `norm` is "pre"."""
    drop_path_grows: bool = False
    """Whether `drop_path` is that of the last block only, and grows evenly from 0 in the first."""
    block: type[Block] = Block
    block_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings that blocks of another type have besides."""
    scan: bool = False
    remat: Remat = "none"

    @nn.compact
    def __call__(
        self,
        values: Float[Array, "b n d"],
        mask: Bool[Array, "b s"] | Bool[Array, "#b #k #n s"] | None = None,
        context: Float[Array, "b m c"] | Sequence[Float[Array, "b _ c"]] | None = None,
        context_mask: KeyMask | Sequence[Bool[Array, "b _"]] | None = None,
        bias: Float[Array, "#b #k #n s"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "b n d"]:
        names = {field.name for field in dataclasses.fields(BlockSettings)} - {"parent", "name"}
        stack = Stack(
            block=self.block,
            settings={
                **{name: getattr(self, name) for name in sorted(names)},
                **self.block_options,
            },
            depth=self.depth,
            scan=self.scan,
            remat=self.remat,
            name="stack",
        )
        layerwise: tuple = ()
        if self.drop_path_grows and train and self.drop_path > 0.0:
            layerwise = (growing(self.depth),)
        values = stack(values, mask, context, context_mask, bias, layerwise=layerwise, train=train)
        final = self.norm == "pre" if self.final_norm is None else self.final_norm
        return self.make_norm("norm")(values) if final else values

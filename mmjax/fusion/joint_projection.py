"""What the fusions have in common that project every summary and pool the projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused, Tokens
from mmjax.core.typing import Array, Dtype, Float
from mmjax.fusion.base import assemble, present, project_values
from mmjax.kernels.joint_embedding import Pool, joint_embedding
from mmjax.nn.dense import fan_in, parameter


class JointProjection(nn.Module, kw_only=True):
    """pool_m(W_m x_m + b_m), x_m being the `pooled` of the modalities that a row has.

    A method is a subclass that sets `pool`, or says in `embed` what else it does.
    """

    width: int = 256
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    pool: ClassVar[Pool] = "sum"
    use_bias: ClassVar[bool] = True

    @nn.compact
    def __call__(self, tokens: dict[str, Tokens], *, train: bool) -> Fused:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        layers = [
            _Projection(
                inputs=one.pooled.shape[-1],
                outputs=self.width,
                use_bias=self.use_bias,
                name=f"{name}_pooled",
                **types,
            )()
            for name, one in tokens.items()
        ]
        kernels, biases = zip(*layers, strict=True)
        pooled, coefficients = self.embed(
            [one.pooled.astype(self.dtype) for one in tokens.values()],
            kernels,
            present=jnp.stack([present(one) for one in tokens.values()], axis=1),
            biases=biases if self.use_bias else None,
        )
        return assemble(
            project_values(tokens, self.width, **types),
            pooled,
            modality_weights=coefficients,
            add_pooled=True,
        )

    def embed(
        self, inputs: Sequence[Array], kernels: Sequence[Array], **given: Any
    ) -> tuple[Float[Array, "b d"], Float[Array, "b modality"] | None]:
        """The pooled vectors, and the coefficients if the method reports them."""
        return joint_embedding(inputs, kernels, pool=self.pool, **given)


class _Projection(nn.Module, kw_only=True):
    """The parameters of a dense layer, for a function that applies several layers at once."""

    inputs: int
    outputs: int
    use_bias: bool
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "d e"], Float[Array, "e"] | None]:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        shape = (self.inputs, self.outputs)
        kernel = parameter(self, "kernel", shape, ("embed", "joined"), init=fan_in, **types)
        if not self.use_bias:
            return kernel, None
        zeros = nn.initializers.zeros
        return kernel, parameter(self, "bias", shape[1:], ("joined",), init=zeros, **types)

"""A table row through a plain network: the baseline of tables."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Tokens
from mmjax.core.typing import ArrayLike, Bool, Dtype, Float, Int
from mmjax.nn.dense import dense, embedding


class TableMLP(nn.Module, kw_only=True):
    """The MLP baseline of Gorishniy et al. (2021): numbers and category embeddings in one vector.

    A missing number is 0, and a flag of its own says that it is missing. Then a dense layer, ReLU
    and dropout for each of `hidden`, and a dense layer to `width`: the only token, and `pooled`.
    """

    numbers: int = fact(0)
    cardinalities: tuple[int, ...] = fact(())
    category_width: int = 16
    hidden: tuple[int, ...] = (256, 256)
    width: int = 64
    dropout: float = 0.1
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)

    @nn.compact
    def __call__(
        self,
        numbers: Float[ArrayLike, "b numbers"] | None = None,
        number_mask: Bool[ArrayLike, "b numbers"] | None = None,
        categories: Int[ArrayLike, "b categories"] | None = None,
        *,
        train: bool,
    ) -> Tokens:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        columns = []
        if self.numbers and numbers is not None:
            known = jnp.ones(numbers.shape, bool)
            known = known if number_mask is None else jnp.asarray(number_mask, bool)
            columns += [jnp.where(known, numbers, 0).astype(self.dtype)]
            columns += [(~known).astype(self.dtype)]
        if self.cardinalities and categories is not None:
            offsets = jnp.cumsum(jnp.array((0, *self.cardinalities[:-1])))
            vectors = embedding(
                sum(self.cardinalities), self.category_width, name="categories", stddev=0.1, **types
            )(categories + offsets)
            columns.append(vectors.reshape(vectors.shape[0], -1))
        values = jnp.concatenate(columns, axis=-1)
        for index, size in enumerate(self.hidden):
            values = dense(size, ("embed", "mlp"), name=f"hidden_{index}", **types)(values)
            values = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(values))
        pooled = dense(self.width, ("mlp", "embed"), name="out", **types)(values)
        return Tokens(pooled[:, None], jnp.ones((pooled.shape[0], 1), bool), pooled)

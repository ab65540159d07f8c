"""Transformer blocks of the attention-level fusions."""

from __future__ import annotations

from typing import Any, ClassVar

import jax

from mmjax.nn.transformer import Block


class CrossFirstBlock(Block, kw_only=True):
    """Cross-attention to a context in segments, then self-attention, then an MLP.

    As the cross-modality layers of LXMERT (Tan and Bansal 2019), but normalising first; the
    context then has a norm of its own, for it may be the residual stream of another modality.
    """

    cross_first: ClassVar[bool] = True

    def context_of(self, context: Any) -> Any:
        return (
            jax.tree.map(self.make_norm("context_norm"), context) if self.norm == "pre" else context
        )

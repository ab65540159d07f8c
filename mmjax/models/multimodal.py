"""The feature-level assembly: encoders, then a fusion, then a task."""

from __future__ import annotations

from collections.abc import Mapping

from flax import linen as nn

from mmjax.core.types import Fused, Tokens
from mmjax.models.base import Fusing


class Multimodal(Fusing, kw_only=True):
    """`{modality: arrays}` -> Tokens -> Fused -> TaskOutput, by a method of the fusion room."""

    fusion: nn.Module

    def join(self, tokens: Mapping[str, Tokens], *, train: bool) -> Fused:
        return self.fusion(dict(tokens), train=train)

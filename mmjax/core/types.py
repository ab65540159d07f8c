"""The few dataclasses that travel between rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import struct

from mmjax.core.typing import Array, ArrayLike, Bool, Float, Int, Shaped


@struct.dataclass
class Batch:
    """One global batch, on the host as NumPy arrays or on the devices.

    `inputs[modality][field]` is what that modality's encoder takes; the set of keys and shapes is
    fixed for a run. A row without a modality has zeros there and `present[modality]` False. Rows
    that pad the last batch have `row_mask` False and count nowhere. `row` is the position of the
    example in its source, -1 for a padding row.
    """

    inputs: Mapping[str, Mapping[str, ArrayLike]]
    present: Mapping[str, Bool[ArrayLike, "b"]]
    targets: Mapping[str, Shaped[ArrayLike, "b ..."]]
    row_mask: Bool[ArrayLike, "b"]
    row: Int[ArrayLike, "b"]


@struct.dataclass
class Tokens:
    """What every encoder returns, in its own width, and every fusion takes.

    `pooled` is the encoder's own summary (CLS, or a mean under the mask).
    A row with an all-False mask has no such modality; its `pooled` is 0.
    """

    values: Float[Array, "b n d"]
    mask: Bool[Array, "b n"]
    pooled: Float[Array, "b d"]


@struct.dataclass
class Fused:
    """What every fusion returns, in the fusion's width.

    `values` are the modalities' projected tokens in config order; `spans[modality]` is the static
    half-open range of that modality's tokens. `modality_weights` are the coefficients that were
    applied, one column a modality in the same order, 0 where it is absent.
    """

    values: Float[Array, "b n d"]
    mask: Bool[Array, "b n"]
    pooled: Float[Array, "b d"]
    spans: Mapping[str, tuple[int, int]] = struct.field(pytree_node=False)
    modality_weights: Float[Array, "b modality"] | None = None
    attention: Mapping[str, Array] | None = None


@struct.dataclass
class TaskOutput:
    """What a task returns for one batch.

    `loss` is the mean over `weight` (the summed weights of the rows that count), so that
    micro-batches combine exactly. `metrics` holds sums over rows, never means. `predictions` has
    one row an example.
    """

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: Mapping[str, Array]
    predictions: Mapping[str, Shaped[Array, "b ..."]]


@struct.dataclass
class ObjectiveOutput:
    """What a pretraining objective returns for one batch; fields as in `TaskOutput`."""

    loss: Float[Array, ""]
    weight: Float[Array, ""]
    metrics: Mapping[str, Array]
    predictions: Mapping[str, Any] = struct.field(default_factory=dict)

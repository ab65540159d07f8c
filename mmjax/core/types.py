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
class Embeddings:
    """What a dual tower returns: one embedding a modality, in the joint space.

    `values` are of unit length. `logit_scale` is the multiplier itself (the temperature's inverse,
    not its logarithm); the logits of a pair are `logit_scale * a @ b.T + logit_bias`. `tokens` is
    what each tower made before its projection.
    """

    values: Mapping[str, Float[Array, "b e"]]
    logit_scale: Float[Array, ""]
    logit_bias: Float[Array, ""] | None = None
    tokens: Mapping[str, Tokens] = struct.field(default_factory=dict)


@struct.dataclass
class Decoded:
    """What a decoder returns, with or without an encoder before it.

    `tokens` are the decoder's last hidden states; `encoder` is None for a decoder alone. `cache`
    holds what the next step of generation needs, None where it was not asked for.
    """

    logits: Float[Array, "b n v"]
    tokens: Tokens
    encoder: Tokens | None = None
    cache: Any = None


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

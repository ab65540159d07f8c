"""The attention of a model: of each encoder, of the fusion, and of a task that looks at tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mmjax.core.types import Batch, Fused
from mmjax.core.typing import Array, Bool, Float
from mmjax.explain import probes
from mmjax.explain.features import Parts, valid
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject
from mmjax.explain.tokens import shape_of, spread, tells_apart

_LAYER = re.compile(r"^layers?(_(\d+))?$")
_SUMMARIES = ("cls", "latents")
"""Groups of a fusion's own tokens that its summary is made of, where it has them."""


@struct.dataclass
class Maps:
    """Attention weights, or those times their gradients.

    `encoders` has the self-attention of each encoder's layers, [layers b n n] with the heads
    already joined, `fusion` that among groups of tokens by "queries<-keys", [layers b n m].
    """

    encoders: Mapping[str, Float[Array, "layers b n n"]]
    fusion: Mapping[str, Float[Array, "layers b n m"]]
    masks: Mapping[str, Bool[Array, "b n"]]
    """The valid tokens of each modality, as the fusion sees them."""
    pools: Mapping[str, Float[Array, "b n"]] = struct.field(default_factory=dict)
    """How an encoder that sums itself up by a learned query weighs its tokens."""
    task: Mapping[str, Float[Array, "layers b n"]] = struct.field(default_factory=dict)
    """What each layer of a task's own decoder looks at of each modality's fused tokens: the mean
    over the words that it writes, or for the box that is explained."""


def maps_of(
    subject: Subject, variables: Any, batch: Batch, choice: Choice, *, gradients: bool = False
) -> Maps:
    """The attention of a batch, traced: the mean over heads of the weights, or with `gradients` of
    the positive part of the weights times the score's gradient (Chefer et al. 2021, equation 5).
    """
    if not gradients:
        asked = batch if choice is None else probes.asked(subject, batch, choice)
        inside = probes.run(subject, variables, asked, lambda module: None)
        return _maps(subject, batch, choice, inside)
    slopes, inside = probes.weight_gradients(subject, variables, batch, choice)
    products = {
        path: jnp.maximum(slope * inside.sown[(*path, "weights")][-1], 0)
        for path, slope in slopes.items()
    }
    # Once more, with the products in the place of the weights: the fusion names them.
    asked = probes.asked(subject, batch, choice)
    named = probes.run(subject, variables, asked, lambda module: None, replaced=products)
    return _maps(subject, batch, choice, named)


def _maps(subject: Subject, batch: Batch, choice: Choice, inside: probes.Inside) -> Maps:
    sown, fused, rows = inside.sown, inside.fused, batch.row_mask.shape[0]
    encoders, pools = {}, {}
    for name in subject.modalities:
        views = _views(batch, name)
        found = _layers(sown, f"encoders_{name}", rows * views)
        if found is not None:
            encoders[name] = _of_rows(found, rows)
            pool = _pool(sown, f"encoders_{name}", found.shape[1:3])
            if pool is not None:
                pools[name] = pool.reshape(rows, -1) / views
    fusion = {}
    if fused is not None and fused.attention is not None:
        fusion = {pair: weights.mean(axis=2) for pair, weights in fused.attention.items()}
    masks = {}
    if fused is not None:
        masks = {name: fused.mask[:, a:b] for name, (a, b) in fused.spans.items()}
    return Maps(encoders, fusion, masks, pools, _of_task(sown, fused, choice))


def _views(batch: Batch, name: str) -> int:
    """How many pictures of a row go through an encoder one by one."""
    inputs = batch.inputs[name]
    pixels = inputs.get("pixel_values")
    if pixels is None or pixels.ndim != 5 or "frame_mask" in inputs:
        return 1
    return pixels.shape[1]


def _pool(
    sown: Mapping[probes.Path, Any], encoder: str, shape: tuple[int, ...]
) -> Float[Array, "r n"] | None:
    """The weights of the one query by which an encoder pools its tokens, the mean over heads."""
    for path, found in sown.items():
        if path[0] == encoder and path[-1] == "weights" and found[-1].ndim == 4:
            weights = found[-1].mean(axis=1)
            if weights.shape == (shape[0], 1, shape[1]) and shape[1] > 1:
                return weights[:, 0]
    return None


def _of_task(
    sown: Mapping[probes.Path, Any], fused: Fused | None, choice: Choice
) -> dict[str, Float[Array, "layers b n"]]:
    """What the decoder of a task looks at, by modality.

    It is told by the number of keys whether it looks at all fused tokens or those of a modality.
    """
    if fused is None:
        return {}
    spans = {name: b - a for name, (a, b) in fused.spans.items()}
    layers: dict[str, list[Array]] = {}
    for path, found in sown.items():
        if not path[0].startswith("task") or path[-2:] != ("cross_attention", "weights"):
            continue
        # Of the blocks that a loop makes, the layers come first.
        weights = found[-1] if found[-1].ndim == 5 else found[-1][None]
        heads = weights.mean(axis=2)
        if isinstance(choice, Mapping) and "query" in choice:
            asked = heads[:, jnp.arange(heads.shape[1]), choice["query"]]
        elif choice is not None and hasattr(choice, "ndim") and choice.ndim == 2:
            counts = (choice >= 0)[:, : heads.shape[2]].astype(heads.dtype)
            here = jnp.einsum("lbnm,bn->lbm", heads[:, :, : counts.shape[1]], counts)
            asked = here / jnp.maximum(counts.sum(axis=1), 1)[:, None]
        else:
            asked = heads.mean(axis=2)
        if asked.shape[-1] == fused.values.shape[1]:
            own = {name: asked[..., a:b] for name, (a, b) in fused.spans.items()}
        else:
            own = {name: asked for name, size in spans.items() if size == asked.shape[-1]}
            own = own if len(own) == 1 else {}
        for name, values in own.items():
            layers.setdefault(name, []).extend(values)
    return {name: jnp.stack(found) for name, found in layers.items()}


def _layers(
    sown: Mapping[probes.Path, Any], encoder: str, rows: int
) -> Float[Array, "layers r n n"] | None:
    """The self-attention of the longest stack below an encoder, means over heads.

    Attention within windows, groups or channels is of parts of a row, and is none of its tokens to
    each other.
    """
    stacks: dict[tuple[str, ...], dict[int, Array]] = {}
    for path, found in sown.items():
        if path[0] != encoder or path[-1] != "weights" or len(path) < 2:
            continue
        weights = found[-1]
        if weights.ndim < 4 or weights.shape[-1] != weights.shape[-2]:
            continue
        if weights.shape[-4] != rows:
            continue
        places = [(i, _LAYER.match(part)) for i, part in enumerate(path)]
        layer = next(((i, match) for i, match in places if match), None)
        if layer is None:
            stacks.setdefault(path, {})[0] = weights.mean(axis=1)
            continue
        at, match = layer
        key = (*path[:at], *path[at + 1 :])
        if weights.ndim == 5:
            for index in range(weights.shape[0]):
                stacks.setdefault(key, {})[index] = weights[index].mean(axis=1)
        else:
            stacks.setdefault(key, {})[int(match[2] or 0)] = weights.mean(axis=1)
    if not stacks:
        return None
    longest = max(stacks.values(), key=len)
    same = [longest[index] for index in sorted(longest)]
    kept = [one for one in same if one.shape == same[-1].shape]
    return jnp.stack(kept)


def _of_rows(weights: Float[Array, "layers r n n"], rows: int) -> Float[Array, "layers b m m"]:
    """Several pictures of a row as one block of tokens each, that do not see each other."""
    layers, whole, count = weights.shape[:3]
    views = whole // rows
    if views == 1:
        return weights
    each = weights.reshape(layers, rows, views, count, count)
    blocks = jnp.einsum("lbvnm,vw->lbvnwm", each, jnp.eye(views, dtype=weights.dtype))
    return blocks.reshape(layers, rows, views * count, views * count)


def joint(
    maps: Maps, layer: int, modalities: Sequence[str]
) -> tuple[Float[Array, "b n n"], dict[str, tuple[int, int]]]:
    """The fusion's attention in a layer over the tokens of all groups, and where each group is.

    Layers count from the last, -1: what has fewer begins later. Pairs that are not there are 0.
    """
    sizes: dict[str, int] = {}
    for pair, weights in maps.fusion.items():
        asking, _, asked = pair.partition("<-")
        sizes.setdefault(asking, weights.shape[2])
        sizes.setdefault(asked, weights.shape[3])
    order = [*(n for n in sizes if n not in modalities), *(n for n in modalities if n in sizes)]
    spans, start = {}, 0
    for name in order:
        spans[name] = (start, start + sizes[name])
        start += sizes[name]
    first = next(iter(maps.fusion.values()))
    whole = jnp.zeros((first.shape[1], start, start), first.dtype)
    for pair, weights in maps.fusion.items():
        if weights.shape[0] < -layer:
            continue
        asking, _, asked = pair.partition("<-")
        (a, b), (c, d) = spans[asking], spans[asked]
        whole = whole.at[:, a:b, c:d].set(weights[layer])
    return whole, spans


def joints(
    maps: Maps, modalities: Sequence[str]
) -> tuple[Float[Array, "layers b n n"] | None, dict[str, tuple[int, int]]]:
    """`joint` of every layer, and the spans; None of a fusion without attention."""
    if not maps.fusion:
        return None, {}
    each = [joint(maps, layer, modalities) for layer in range(-depth(maps), 0)]
    return jnp.stack([weights for weights, _ in each]), each[0][1]


def depth(maps: Maps) -> int:
    """The most layers that the fusion has."""
    return max((weights.shape[0] for weights in maps.fusion.values()), default=0)


def read_from(
    relevance: Float[Array, "b n n"],
    spans: Mapping[str, tuple[int, int]],
    masks: Mapping[str, Bool[Array, "b n"]],
) -> dict[str, Float[Array, "b n"]]:
    """What the fusion's summary owes the tokens of each modality.

    The summary is the class token's or the latents', else the mean of the modalities' means.
    """
    own = [name for name in _SUMMARIES if name in spans]
    rows = []
    for name in own or [name for name in spans if name in masks]:
        start, stop = spans[name]
        mask = masks.get(name)
        part = relevance[:, start:stop]
        rows.append(part.mean(axis=1) if mask is None else mean_over(part, mask))
    whole = sum(rows[1:], rows[0]) / len(rows)
    return {name: whole[:, a:b] for name, (a, b) in spans.items() if name in masks}


def from_encoder(
    encoder: Any,
    relevance: Float[Array, "b n n"],
    mask: Array | None,
    pool: Float[Array, "b n"] | None = None,
) -> Float[Array, "b n"]:
    """What an encoder's own summary owes its tokens: by the query that pools them, by its class
    token, or the mean.
    """
    if pool is not None:
        return jnp.einsum("bn,bnm->bm", pool, relevance)
    first = getattr(encoder, "pooling", "mean") in ("cls", "pooler", "first")
    if first:
        return relevance[:, 0]
    if mask is None or mask.shape[1] != relevance.shape[1]:
        return relevance.mean(axis=1)
    return mean_over(relevance, mask)


def mean_over(values: Float[Array, "b n m"], mask: Bool[Array, "b n"]) -> Float[Array, "b m"]:
    weights = mask / jnp.maximum(mask.sum(axis=1, keepdims=True), 1)
    return jnp.einsum("bnm,bn->bm", values, weights.astype(values.dtype))


def placed(subject: Subject, batch: Batch, tokens: Mapping[str, Array]) -> Parts:
    """Numbers of tokens at the places of the inputs, 0 where nothing is."""
    found = {}
    for name, values in tokens.items():
        encoder = subject.module.encoders[name]
        shape = shape_of(batch, name)
        if not tells_apart(values.shape[1], shape, subject.kinds[name]):
            continue
        spaced = spread(values, shape, subject.kinds[name], encoder)
        found[name] = jnp.where(valid(batch, name, spaced), spaced, 0)
    return found


def refused(subject: Subject, batch: Batch) -> str | None:
    """Why there is no attention to look at; None if there is."""
    choices = jax.eval_shape(lambda v: subject.choose(v, batch)[0], subject.ready)
    found = jax.eval_shape(
        lambda variables, choice: maps_of(subject, variables, batch, choice),
        subject.ready,
        choices,
    )
    if found.encoders or found.fusion or found.task:
        return None
    return (
        "no attention over the tokens of a row, in its encoders, its fusion or its task: "
        "'integrated_gradients' and 'occlusion' fit any model"
    )

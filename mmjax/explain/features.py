"""Inputs as numbers that can be differentiated and hidden: pixels, bands, columns, embeddings.

Features are `{modality: {field: array}}`: the fields of real numbers as they are, and in place of
ids what the model's own embedding table made of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.types import Batch
from mmjax.core.typing import Array, Bool

Features = Mapping[str, Mapping[str, Array]]
"""By modality and field."""
Parts = Mapping[str, Array]
"""By modality, one number (or flag) a place: [b n], [b h w], [b v h w], [b t f], ..."""

IDS = ("input_ids", "categories", "item_ids")
"""Fields of ids, which an embedding table turns into features."""
_CHANNELS_LAST = ("pixel_values", "voxel_values", "points")
_NO_FEATURES = ("seconds", "offsets", "times")
_MASKS = ("attention_mask", "frame_mask", "point_mask", "item_mask")


def fields_of(batch: Batch, modality: str) -> tuple[str, ...]:
    """The fields whose numbers are features, in the order of the places that they make."""
    inputs = batch.inputs[modality]
    real = [n for n, a in inputs.items() if jnp.issubdtype(a.dtype, jnp.floating)]
    ids = [name for name in IDS if name in inputs]
    return (*(name for name in real if name not in _NO_FEATURES), *ids)


def run_with(
    apply: Callable[[Batch], Any],
    batch: Batch,
    given: Features | None = None,
) -> tuple[Any, dict[str, dict[str, Array]]]:
    """What `apply` makes of a batch with other features, and the features that it had itself.

    Of `given`, ids need no fields: their embeddings are put in the place of the table's. The table
    of a modality is the first that its encoder asks with as many ids as the field has.
    """
    own = {
        name: {
            f: jnp.asarray(batch.inputs[name][f]) for f in fields_of(batch, name) if f not in IDS
        }
        for name in batch.inputs
    }
    wanted = {
        name: {f: batch.inputs[name][f].size for f in fields_of(batch, name) if f in IDS}
        for name in batch.inputs
    }

    def embed(
        next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if context.method_name == "__call__" and kwargs.get("item_vectors") is not None:
            (name,) = (n for n in own if module.path == (f"encoders_{n}",))
            kwargs, own[name]["item_ids"] = _with_items(kwargs, (given or {}).get(name, {}))
            return next_fun(*args, **kwargs)
        output = next_fun(*args, **kwargs)
        if context.method_name != "__call__" or not isinstance(module, nn.Embed) or not args:
            return output
        for name, fields in wanted.items():
            if not module.path or module.path[0] != f"encoders_{name}":
                continue
            for field, size in fields.items():
                if field not in own[name] and args[0].size == size:
                    own[name][field] = output
                    replaced = None if given is None else given.get(name, {}).get(field)
                    return output if replaced is None else replaced.astype(output.dtype)
        return output

    with nn.intercept_methods(embed):
        made = apply(batch if given is None else with_features(batch, given))
    return made, own


def _with_items(kwargs: dict[str, Any], given: Mapping[str, Array]) -> tuple[dict[str, Any], Array]:
    """What an encoder of a catalogue's items is called with, and the vectors of its items.

    Given others, each place is an item of its own.
    """
    ids = jnp.asarray(kwargs["item_ids"])
    vectors = kwargs["item_vectors"][jnp.maximum(ids - 1, 0)]
    other = given.get("item_ids")
    if other is not None:
        flat = other.reshape(-1, other.shape[-1]).astype(vectors.dtype)
        places = 1 + jnp.arange(ids.size, dtype=ids.dtype).reshape(ids.shape)
        kwargs = {**kwargs, "item_vectors": flat, "item_ids": places}
    return kwargs, vectors


def with_features(batch: Batch, given: Features) -> Batch:
    """The batch with other numbers in its fields of real numbers."""
    inputs = {
        name: {**fields, **{f: a for f, a in given.get(name, {}).items() if f not in IDS}}
        for name, fields in batch.inputs.items()
    }
    return dataclasses.replace(batch, inputs=inputs)


def blank(batch: Batch, own: Features, facts: Mapping[str, Mapping[str, Any]]) -> Features:
    """What stands for nothing: 0, which is the mean where a processor standardises, and the vector
    of zeros for a word. Special tokens of a text stay.
    """
    found: dict[str, dict[str, Array]] = {}
    for name, fields in own.items():
        found[name] = {field: jnp.zeros_like(values) for field, values in fields.items()}
        special = facts.get(name, {}).get("special_ids") or ()
        if "input_ids" in fields and special:
            ids = jnp.asarray(batch.inputs[name]["input_ids"])
            kept = jnp.isin(ids, jnp.asarray(special)).reshape(fields["input_ids"].shape[:-1])
            found[name]["input_ids"] = jnp.where(kept[..., None], fields["input_ids"], 0)
    return found


def places(batch: Batch, modality: str, features: Mapping[str, Array]) -> Array:
    """One number a place of one number a feature: the sum over channels, or over a vector's width.

    Numbers and categories of a table stand behind each other, as its columns do.
    """
    found = []
    for field in fields_of(batch, modality):
        if field not in features:
            continue
        values = features[field]
        if field in IDS:
            values = values.reshape(*batch.inputs[modality][field].shape, -1)
        found.append(values.sum(axis=-1) if field in (*IDS, *_CHANNELS_LAST) else values)
    return found[0] if len(found) == 1 else jnp.concatenate(found, axis=1)


def chosen(
    batch: Batch, modality: str, where: Array, yes: Mapping[str, Array], no: Mapping[str, Array]
) -> dict[str, Array]:
    """`yes` at the places where `where`, `no` elsewhere, as `places` counts them."""
    found, start = {}, 0
    for field in (f for f in fields_of(batch, modality) if f in yes):
        flags = where
        if "numbers" in yes and "categories" in yes:
            stop = start + yes[field].shape[1] if field == "numbers" else where.shape[1]
            flags, start = where[:, start:stop], stop
        if field in IDS:
            flags = flags.reshape(*yes[field].shape[:-1])
        if field in (*IDS, *_CHANNELS_LAST):
            flags = flags[..., None]
        found[field] = jnp.where(flags, yes[field], no[field])
    return found


def valid(batch: Batch, modality: str, values: Array) -> Bool[Array, "b ..."]:
    """The places that hold something: no padding, and of rows that have the modality."""
    here = jnp.asarray(batch.present[modality]) & jnp.asarray(batch.row_mask)
    mask = jnp.broadcast_to(here.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    for name in _MASKS:
        if name in batch.inputs[modality]:
            own = jnp.asarray(batch.inputs[modality][name], bool)
            if own.shape == values.shape[: own.ndim]:
                mask &= own.reshape(*own.shape, *[1] * (values.ndim - own.ndim))
    return mask

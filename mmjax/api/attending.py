"""What an exported model looked at in a picture, as outputs of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mmjax.api.run import Run
from mmjax.checkpoint.trees import nest
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.data.config import kind_of
from mmjax.explain.attention import AttentionMaps
from mmjax.explain.subject import Subject
from mmjax.export.tracing import Fields, batch_of
from mmjax.export.variants import flatten, restored

PREFIX = "attention_"
"""What the outputs' names begin with; the rest is the modality's."""
_MOST = 32
"""Cells along an edge of a map at most: it is drawn over the picture, whatever the picture's size.
"""

Forward = Callable[[Mapping[str, Any], Fields], dict[str, Any]]


def attending(
    forward: Forward, run: Run, variables: Any, dtypes: Mapping[str, Any], example: Fields
) -> Forward:
    """`forward` with a map [b h w] more for each picture that is attended to (`AttentionMaps`).

    The model is traced twice in one program; the compiler finds what both have in common. `example`
    is a batch that shows the shapes. Raises ConfigError for a model without attention over the
    tokens of a picture.
    """
    kinds = {name: kind_of(run.config.data.modalities[name]) for name in run.module.encoders}
    facts = dict(run.facts["modalities"])
    subject = Subject(run.module, variables, run.mesh, kinds=kinds, facts=facts)
    pictures = [name for name, kind in kinds.items() if kind == "image"]

    def predict(parameters: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
        variables = nest(restored(parameters, dtypes))
        seen = AttentionMaps().attribute(subject, variables, batch_of(fields), None)
        maps = {f"{PREFIX}{name}": _small(seen[name]) for name in pictures if name in seen}
        return {**maps, **forward(parameters, fields)}

    made: Mapping[str, Any] = {}
    if pictures and AttentionMaps().refuses(subject, batch_of(example)) is None:
        made = jax.eval_shape(predict, flatten(variables), example)
    if not any(name.startswith(PREFIX) for name in made):
        raise ConfigError(
            109,
            "the model has no attention over the tokens of a picture",
            where="attention",
            fix="leave --attention out, or train with an encoder such as vit",
        )
    return predict


def _small(places: Float[Array, "b ..."]) -> Float[Array, "b h w"]:
    """Several pictures of a row as their mean, at most `_MOST` cells an edge."""
    found = places.mean(axis=1) if places.ndim == 4 else places
    rows, *edges = found.shape
    return jax.image.resize(found, (rows, *(min(one, _MOST) for one in edges)), "linear").astype(
        jnp.float32
    )

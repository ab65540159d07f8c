"""From numbers of a batch to what is shown of one row: the input, its words, and what matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Float
from mmjax.explain import features as feature_lib
from mmjax.explain.base import Found
from mmjax.explain.explanation import Part
from mmjax.explain.subject import Subject, Words
from mmjax.explain.tokens import shape_of, spread


def parts_of(
    subject: Subject,
    batch: Batch,
    found: Found,
    row: int,
    words: Mapping[str, Words],
    cells: Mapping[str, Sequence[str]],
    *,
    signed: bool,
) -> dict[str, Part]:
    """The parts of one row of a batch. `cells` are a table's as text, by modality."""
    parts = {}
    for name in (n for n in subject.modalities if n in found.parts):
        if not bool(np.asarray(batch.present[name])[row]):
            continue
        named = words.get(name, ())
        columns = subject.columns.get(name, ()) if subject.kinds[name] == "table" else ()
        texts = cells.get(name, ())
        names = tuple(w for w, _ in named) or tuple(
            f"{column} = {text}" for column, text in zip(columns, texts, strict=False)
        )
        parts[name] = Part(
            subject.kinds[name],
            np.asarray(found.parts[name][row], np.float64),
            shown(subject, batch, name, row),
            names,
            tuple(places for _, places in named),
            signed,
        )
    return parts


def pairs_of(
    subject: Subject, batch: Batch, found: Found, row: int, words: Mapping[str, Words]
) -> dict[str, Float[np.ndarray, "w ..."]]:
    """Of each pair that begins with a text, where in the other modality its words are."""
    pairs = {}
    for pair, whole in found.pairs.items():
        asking, _, asked = pair.partition("<-")
        if not words.get(asking):
            continue
        plan = np.asarray(whole[row], np.float32)
        start = plan.shape[0] - shape_of(batch, asking)[0]
        rows = [plan[[start + p for p in places]].sum(axis=0) for _, places in words[asking]]
        encoder = subject.module.encoders[asked]
        shape = shape_of(batch, asked)
        pairs[pair] = np.asarray(spread(jnp.stack(rows), shape, subject.kinds[asked], encoder))
    return pairs


def shown(subject: Subject, batch: Batch, name: str, row: int) -> np.ndarray | None:
    """What the model was given of a row, to draw over: pictures in [0, 1], channels last."""
    fields = batch.inputs[name]
    if "pixel_values" in fields:
        mean, deviation = subject.pixels.get(name, (None, None))
        pixels = np.asarray(fields["pixel_values"][row], np.float64)
        if mean is None or deviation is None:
            return (pixels - pixels.min()) / max(float(np.ptp(pixels)), 1e-9)
        return np.clip(pixels * np.asarray(deviation) + np.asarray(mean), 0.0, 1.0)
    for field in feature_lib.fields_of(batch, name):
        if field in ("voxel_values", "input_features", "input_values", "points"):
            return np.asarray(fields[field][row], np.float64)
    return None

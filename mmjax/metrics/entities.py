"""Metrics of entities: named parts of a text that are right as a whole, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Array, Bool, Float, Int
from mmjax.metrics.multi_label import of_counts
from mmjax.metrics.tags import Scheme, entities_of

_AVERAGED = ("precision", "recall", "f1")


def entities(
    true_tags: Sequence[Sequence[str]],
    predicted_tags: Sequence[Sequence[str]],
    *,
    scheme: Scheme | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, float]:
    """Entity-level precision, recall and F1 of tag sequences as a flat dict, in float64.

    An entity is right if its kind, first and last token are. `micro_...` are of all entities
    together, `macro_...` plain means over the kinds that occur, `weighted_...` weighted by support;
    `precision/<name>`, `recall/<name>`, `f1/<name>`, `support/<name>` of each kind, of `names` if
    given. `accuracy` is of tags. 0 where a denominator is 0; macro means of no kind at all are NaN.

    Agrees with seqeval 1.2.2: its default mode (conlleval's) without a `scheme`, its strict mode
    with one. Raises DataError for sequences that are not as long, and for what is no tag.
    """
    if len(true_tags) != len(predicted_tags):
        raise DataError(
            540, f"{len(predicted_tags)} sequences predicted of {len(true_tags)}", fix="one each"
        )
    for row, (ours, theirs) in enumerate(zip(predicted_tags, true_tags, strict=True)):
        if len(ours) != len(theirs):
            raise DataError(
                540,
                f"{len(ours)} tags for {len(theirs)} tokens",
                where=f"row {row}",
                fix="one each",
            )
    found = [
        [(row, *one) for row, tags in enumerate(rows) for one in entities_of(tags, scheme)]
        for rows in (true_tags, predicted_tags)
    ]
    pairs = [
        (a, b)
        for ours, theirs in zip(predicted_tags, true_tags, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    ]
    right = sum(a == b for a, b in pairs) / len(pairs) if pairs else float("nan")
    return {**_of_sets(found[0], found[1], names), "accuracy": right}


def span_entities(
    true: Int[np.ndarray, "n s 3"],
    predicted: Int[np.ndarray, "n p 3"],
    names: Sequence[str],
) -> dict[str, float]:
    """As `entities`, of rows of spans (start, end, number of the name), -1 where there is none."""
    sets = [
        [
            (row, names[kind], start, end)
            for row, spans in enumerate(np.asarray(rows).tolist())
            for start, end, kind in spans
            if start >= 0
        ]
        for rows in (true, predicted)
    ]
    return _of_sets(sets[0], sets[1], names)


def _of_sets(
    true: Iterable[tuple], predicted: Iterable[tuple], names: Sequence[str] | None
) -> dict[str, float]:
    """Of entities as (row, kind, ...)."""
    theirs, ours = set(true), set(predicted)
    counts = [Counter(one[1] for one in some) for some in (ours & theirs, ours, theirs)]
    kinds = sorted(counts[1] | counts[2]) if names is None else list(names)
    right, said, there = (np.array([one[k] for k in kinds], np.float64) for one in counts)
    return entity_scores(right, said, there, kinds)


def entity_scores(
    right: Float[np.ndarray, "v"],
    predicted: Float[np.ndarray, "v"],
    support: Float[np.ndarray, "v"],
    names: Sequence[str],
) -> dict[str, float]:
    """Of how often each kind was predicted, was there, and was both; means over what occurs."""
    occurs = (np.asarray(predicted) + np.asarray(support)) > 0
    if not occurs.any():
        zero = [f"{kind}_{name}" for kind in ("micro", "weighted") for name in _AVERAGED]
        each = [f"{name}/{kind}" for kind in names for name in (*_AVERAGED, "support")]
        return {
            **dict.fromkeys((f"macro_{name}" for name in _AVERAGED), float("nan")),
            **dict.fromkeys(zero, 0.0),
            **dict.fromkeys(each, 0.0),
        }
    found = of_counts(right, predicted, support, names)
    for name in _AVERAGED:
        values = [
            found[f"{name}/{kind}"] for kind, there in zip(names, occurs, strict=True) if there
        ]
        found[f"macro_{name}"] = float(np.mean(values))
    return found


def entity_sums(
    true: Int[Array, "b s c"],
    predicted: Int[Array, "b p c"],
    count: int,
    rows: Bool[Array, "b"],
) -> dict[str, Array]:
    """Float32 sums `right`, `predicted` and `support` [count] over the rows that count.

    True and predicted are rows of numbers, the last of which is the kind; those with a first number
    below 0 are none. A prediction is right if all its numbers are those of a true one.
    """
    here = [(one[..., 0] >= 0) & rows[:, None] for one in (true, predicted)]
    same = jnp.all(predicted[:, :, None] == true[:, None], axis=-1) & here[0][:, None]
    hits = here[1] & jnp.any(same, axis=-1)

    def by_kind(some: Array, which: Array) -> Array:
        kinds = jax.nn.one_hot(some[..., -1], count) * which[..., None]
        return jnp.sum(kinds.astype(jnp.float32), axis=(0, 1))

    return {
        "right": by_kind(predicted, hits),
        "predicted": by_kind(predicted, here[1]),
        "support": by_kind(true, here[0]),
    }


def entities_from_sums(sums: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """What `span_entities` gives, of summed `entity_sums`."""
    right, said, there = (
        np.asarray(sums[n], np.float64) for n in ("right", "predicted", "support")
    )
    return entity_scores(right, said, there, names)

"""Attention maps as they are."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Array
from mmjax.explain import maps as maps_lib
from mmjax.explain.base import Found, PartMethod
from mmjax.explain.features import Parts
from mmjax.explain.maps import Maps
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class AttentionMaps(PartMethod):
    """The attention that each place gets, the mean over layers, heads and who asks.

    Of a task that looks at tokens itself (the decoder of a text, the queries of boxes) what it
    looks at for what is explained; else of a fusion with attention that among modalities, whose
    pairs are told too; else that of the last layer of each encoder, as its summary asks.
    """

    about: ClassVar[str] = (
        "the attention that each place gets from the tokens of others, on average"
    )
    signed: ClassVar[bool] = False

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return maps_lib.refused(subject, batch)

    def attribute(self, subject: Subject, variables: Any, batch: Batch, choice: Choice) -> Parts:
        return self._seen(subject, maps_lib.maps_of(subject, variables, batch, choice), batch)

    def _seen(self, subject: Subject, maps: Maps, batch: Batch) -> Parts:
        tokens: dict[str, list[Array]] = {n: [one.mean(axis=0)] for n, one in maps.task.items()}
        if tokens:
            return maps_lib.placed(subject, batch, {n: one[0] for n, one in tokens.items()})
        for pair, weights in maps.fusion.items():
            asking, _, asked = pair.partition("<-")
            if asked not in subject.modalities or asked == asking:
                continue
            mask = maps.masks.get(asking)
            mean = weights.mean(axis=0)
            found = mean.mean(axis=1) if mask is None else maps_lib.mean_over(mean, mask)
            tokens.setdefault(asked, []).append(found)
        joined = {name: sum(found[1:], found[0]) for name, found in tokens.items()}
        for name, weights in maps.encoders.items():
            if name not in joined:
                encoder = subject.module.encoders[name]
                mask, pool = maps.masks.get(name), maps.pools.get(name)
                # Of its last layer where tokens are read as they are, else of who pools them.
                joined[name] = (
                    maps_lib.from_encoder(encoder, weights[-1], mask) if pool is None else pool
                )
        return maps_lib.placed(subject, batch, joined)

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        def traced(variables: Any, batch: Batch, choice: Choice) -> Any:
            maps = maps_lib.maps_of(subject, variables, batch, choice)
            pairs = {
                pair: weights.mean(axis=0)
                for pair, weights in maps.fusion.items()
                if set(pair.split("<-")) <= set(subject.modalities)
                and len(set(pair.split("<-"))) == 2
            }
            return self._seen(subject, maps, batch), pairs

        parts, pairs = subject.call(("maps", self), traced, batch, choice)
        return Found({}, {name: np.asarray(one) for name, one in parts.items()}, pairs)

"""The generated shop: who chose what, and what tells it."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.sources.generated_recommendation import (
    COLOURS,
    KINDS,
    GeneratedItems,
    GeneratedRecommendation,
)


def _told(items):
    """The kind by the text and the colour by the picture, of each item."""
    names = list(KINDS)
    kinds = [
        next(names.index(k) for k, said in KINDS.items() if any(text.startswith(s) for s in said))
        for text in items.column("text")
    ]
    colours = np.array(list(COLOURS.values()))
    found = []
    for picture in items.column("picture"):
        far = np.abs(picture.astype(float) - 128).sum(axis=-1)
        disc = np.median(picture[far >= np.sort(far.ravel())[-20]], axis=0)
        found.append(int(np.linalg.norm(colours - disc, axis=1).argmin()))
    return np.array(kinds), np.array(found)


def test_text_and_picture_and_history_tell_what_is_chosen():
    table, items = GeneratedRecommendation(users=60).read(), GeneratedItems().read()
    assert table.fingerprint == GeneratedRecommendation(users=60).read().fingerprint
    kinds, colours = _told(items)
    place = {name: i for i, name in enumerate(items.column("item"))}
    new = np.array(items.column("new"))
    hits = {"all": [], "kind": [], "colour": []}
    for row in range(len(table)):
        before = [place[name] for name in table.column("history")[row]]
        item = place[table.column("item")[row]]
        assert item not in before
        assert len(set(before)) == len(before)
        split = table.column("split")[row]
        if split == "train":
            assert not new[item]
        if split != "test":
            continue
        likes = {
            "kind": np.log(np.bincount(kinds[before], minlength=len(KINDS)) + 0.5)[kinds],
            "colour": np.log(np.bincount(colours[before], minlength=len(COLOURS)) + 0.5)[colours],
        }
        for name, score in {"all": likes["kind"] + likes["colour"], **likes}.items():
            score = score + np.linspace(0, 1e-6, len(score))
            score[before] = -np.inf
            hits[name].append((score > score[item]).sum() < 10)
    assert len(hits["all"]) == 60
    rates = {name: np.mean(found) for name, found in hits.items()}
    assert rates["all"] > 0.4 > 0.3 > max(rates["kind"], rates["colour"])
    assert new.mean() == pytest.approx(0.1)


def test_what_makes_no_shop_is_refused():
    with pytest.raises(ConfigError, match=r"choices = 3.*4 or more"):
        GeneratedRecommendation(choices=3)
    with pytest.raises(ConfigError, match=r"items = 20.*40 or more"):
        GeneratedRecommendation(items=20)

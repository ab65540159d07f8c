"""Pairs of names: a row for each concept and language."""

from __future__ import annotations

import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.sources.emoji import Emoji
from mmjax.data.sources.emoji_names import LANGUAGES, EmojiNames


def test_rows_are_the_names_of_the_set():
    table, concepts = EmojiNames().read(), Emoji().read()
    names = concepts.column("names")
    assert len(table) == sum(bool(row.get(one)) for row in names for one in LANGUAGES)
    assert len(set(table.column("id"))) == len(table)
    index = list(concepts.column("index"))
    split_of = dict(zip(index, concepts.column("split"), strict=True))
    for row in range(0, len(table), 997):
        concept, language = table.column("id")[row].split("-")
        place = index.index(int(concept))
        assert table.column("language")[row] == language
        assert table.column("translation")[row] == names[place][language]
        assert table.column("name")[row] == concepts.column("name")[place]
        assert (table.column("noto")[row] == concepts.column("noto")[place]).all()
    ids = table.column("id")
    splits = {int(one.split("-")[0]): s for one, s in zip(ids, table.column("split"), strict=True)}
    assert all(split_of[concept] == split for concept, split in splits.items())


def test_some_languages_alone():
    table = EmojiNames(languages=("de",)).read()
    assert set(table.column("language")) == {"de"}
    assert table.fingerprint != EmojiNames().read().fingerprint
    for wrong in (("dee",), ()):
        with pytest.raises(ConfigError, match="no language"):
            EmojiNames(languages=wrong)

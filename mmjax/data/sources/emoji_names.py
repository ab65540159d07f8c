"""The embedded EMOJI set as pairs of names: the English one, and one in another language."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.data.sources.emoji import Emoji
from mmjax.data.table import Table

LANGUAGES = (
    "fr", "de", "es", "it", "pt", "ru", "uk", "ja", "ko", "zh", "hi", "fi", "hu", "pl", "nl",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EmojiNames:
    """A row for each concept and language of `languages` in which it has a name.

    Columns: `id` ("<index>-<language>"), `language`, `name` (English), `translation`, the pictures
    `twemoji` and `noto`, `group` and `split`; a concept is in one split. Raises ConfigError for a
    language that the set does not have.
    """

    languages: tuple[str, ...] = LANGUAGES

    def __post_init__(self) -> None:
        for one in self.languages or ("",):
            if one not in LANGUAGES:
                raise ConfigError(
                    106, f"'{one}' is no language", where="source", fix=nearest(one, LANGUAGES)
                )

    def read(self) -> Table:
        """The rows, those of one concept together."""
        table = Emoji().read()
        same = ("name", "twemoji", "noto", "group", "split")
        columns: dict[str, list[Any]] = {
            name: [] for name in ("id", "language", "translation", *same)
        }
        for row, names in enumerate(table.column("names")):
            for language in self.languages:
                if not (names or {}).get(language):
                    continue
                columns["id"].append(f"{table.column('index')[row]}-{language}")
                columns["language"].append(language)
                columns["translation"].append(names[language])
                for name in same:
                    columns[name].append(table.column(name)[row])
        fingerprint = f"{table.fingerprint}-{'-'.join(self.languages)}"
        return Table(columns=columns, name="emoji_names", fingerprint=fingerprint)

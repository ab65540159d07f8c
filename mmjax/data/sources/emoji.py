"""The embedded EMOJI set: 1,906 concepts, two drawings each, names in 16 languages."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import io

import numpy as np

from mmjax.data.sources.jsonl import read_lines
from mmjax.data.table import Table


@dataclasses.dataclass(frozen=True)
class Emoji:
    """The columns of `embedded/emoji/concepts.jsonl` (`index`, `codepoints`, `emoji`, `name`,
    `tags`, `group`, `subgroup`, `names`, `split`), and the pictures `twemoji` and `noto`, each
    uint8 [32, 32, 3]. Sources and licences are in its NOTICE.
    """

    def read(self) -> Table:
        """The whole set as a table."""
        folder = importlib.resources.files("mmjax.data") / "embedded" / "emoji"
        concepts = (folder / "concepts.jsonl").read_bytes()
        images = (folder / "images.npz").read_bytes()
        fingerprint = hashlib.sha256(concepts + images).hexdigest()
        table = read_lines(io.BytesIO(concepts), "emoji", fingerprint=fingerprint)
        with np.load(io.BytesIO(images)) as arrays:
            pictures = {name: list(arrays[name]) for name in ("twemoji", "noto")}
        return dataclasses.replace(table, columns={**table.columns, **pictures})

"""Explanations as a folder: lines of JSON, pictures, and one page."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.core.files import atomic, write_json
from mmjax.explain.explaining import Results
from mmjax.explain.explanation import Explanation, plain
from mmjax.explain.page import render

LINES, SUMMARY, PAGE, PICTURES = "explanations.jsonl", "summary.json", "index.html", "pictures"
"""What is in the folder; `mmjax.explain` says what is in each."""


@dataclasses.dataclass(frozen=True)
class Explanations(Sequence[Explanation]):
    """What `run.explain` returns: explanations in the order of the rows, and of all rows together.

    `save` writes them as a folder.
    """

    split: str
    rows: int
    results: Results
    title: str = ""

    def __len__(self) -> int:
        return len(self.results.found)

    def __getitem__(self, index: Any) -> Any:
        return self.results.found[index]

    def of(self, method: str) -> list[Explanation]:
        """Those of one method."""
        return [one for one in self.results.found if one.method == method]

    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds."""
        return {
            "split": self.split,
            "rows": self.rows,
            "explained": self.results.about,
            "methods": self.results.over,
            "refused": self.results.refused,
            "answers": {str(row): plain(one) for row, one in self.results.answers.items()},
        }

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes the folder that `mmjax.explain` describes; the page last."""
        folder = Path(folder)
        pictures: dict[str, bytes] = {}
        lines: list[Mapping[str, Any]] = []
        for one in self.results.found:
            name = None
            if one.drawable:
                name = f"{PICTURES}/{one.row}-{re.sub(r'[^a-z0-9_]+', '_', one.method)}.png"
                pictures[name] = one.draw(folder / name).read_bytes()
            lines.append(dataclasses.replace(one, picture=name).as_json())
        with atomic(folder / LINES) as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        summary = self.summary()
        write_json(folder / SUMMARY, summary)
        with atomic(folder / PAGE) as file:
            file.write(render(self.title or folder.parent.name, summary, lines, pictures))
        return folder

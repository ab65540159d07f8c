"""easy-VQA: questions about drawn shapes, from the data of a package that need not be imported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.core.packages import locate
from mmjax.data.sources.files import existing
from mmjax.data.table import Table

INSTALL = "pip install --no-deps easy-vqa==1.0"

_SHAPES = frozenset({"circle", "rectangle", "triangle"})


@dataclasses.dataclass(frozen=True)
class EasyVqa:
    """The questions of Zhou's easy-VQA 1.0, each about a generated picture of one shape.

    Columns: `question`, `answer`, `image` (a path below the folder), `picture` (its number, of its
    own split), `type` ("yes/no", "shape", "colour") and `split`. Validation are the questions about
    a share of the training pictures, drawn by `seed`; no picture is in two splits. Raises
    MissingExtra if the package is not there, DataError for files that hold something else.
    """

    folder: str = "package:easy_vqa/data"
    """The folder of `train` and `test`."""
    validation_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation_fraction < 1 or self.seed < 0:
            raise ConfigError(
                106,
                f"validation_fraction = {self.validation_fraction}, seed = {self.seed}",
                where="source easy_vqa",
                fix="a share between 0 and 1, and a seed of 0 or more",
            )

    def read(self) -> Table:
        """The questions in the order of the files, those of the tests last."""
        root = self._root()
        names = ("question", "answer", "image", "picture", "type", "split")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        digest = hashlib.sha256(f"{self.validation_fraction} {self.seed}".encode())
        for split in ("train", "test"):
            path = existing(root / split / "questions.json")
            content = path.read_bytes()
            digest.update(content)
            questions = _parse(content, path)
            held = self._held_out(questions) if split == "train" else frozenset()
            for question, answer, picture in questions:
                yes_no = answer in ("yes", "no")
                kind = "yes/no" if yes_no else "shape" if answer in _SHAPES else "colour"
                where = "validation" if picture in held else split
                image = f"{split}/images/{picture}.png"
                for name, cell in zip(
                    names, (question, answer, image, picture, kind, where), strict=True
                ):
                    columns[name].append(cell)
        return Table(columns, "easy_vqa", digest.hexdigest(), root=root)

    def _root(self) -> Path:
        try:
            return Path(locate(self.folder))
        except ConfigError as error:
            raise MissingExtra(114, f"easy_vqa reads {error.what}", fix=INSTALL) from error

    def _held_out(self, questions: list[tuple[str, str, int]]) -> frozenset[int]:
        pictures = sorted({picture for _, _, picture in questions})
        count = max(1, round(self.validation_fraction * len(pictures)))
        order = np.random.default_rng(self.seed).permutation(len(pictures))
        return frozenset(pictures[i] for i in order[:count].tolist())


def _parse(content: bytes, path: Path) -> list[tuple[str, str, int]]:
    try:
        rows = json.loads(content)
        found = [(question, answer, picture) for question, answer, picture in rows]
        if not found or not all(
            (type(question), type(answer), type(picture)) == (str, str, int)
            for question, answer, picture in found
        ):
            raise ValueError("no lists of a question, an answer and the number of a picture")
    except (ValueError, TypeError) as error:
        raise DataError(
            215, f"no such data as easy_vqa reads: {error}", where=str(path), fix=INSTALL
        ) from error
    return found

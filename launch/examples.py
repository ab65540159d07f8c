"""A few test rows of the embedded set as a user would bring them: a CSV file and PNG pictures.

python launch/examples.py write RUN      RUN/examples/rows.csv and its pictures
python launch/examples.py show RUN       those rows beside RUN/predictions.jsonl
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import PIL.Image

from mmjax.data.sources.emoji import Emoji
from mmjax.writers.console import table

COUNT = 5
TEXT = ("index", "name", "group")
PICTURES = ("twemoji", "noto")


def write(run: Path) -> None:
    folder = run / "examples"
    source = Emoji().read()
    rows = [i for i, split in enumerate(source.column("split")) if split == "test"]
    chosen = rows[:: len(rows) // COUNT][:COUNT]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*TEXT, *PICTURES])
        for row in chosen:
            index, name, group = (source.column(column)[row] for column in TEXT)
            files = [f"{index}_{column}.png" for column in PICTURES]
            for column, picture in zip(PICTURES, files, strict=True):
                PIL.Image.fromarray(source.column(column)[row]).save(folder / picture)
            writer.writerow([index, name, group, *files])


def show(run: Path) -> None:
    with (run / "examples" / "rows.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    answers = (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    cells = [
        [row["name"], row["group"], answer["label"], answer["probability"]]
        for row, answer in zip(rows, map(json.loads, answers), strict=True)
    ]
    table(cells, ["name", "true group", "predicted", "probability"], "predictions")


if __name__ == "__main__":
    {"write": write, "show": show}[sys.argv[1]](Path(sys.argv[2]))

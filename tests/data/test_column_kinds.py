"""What kind of column the cells of a table make."""

import datetime

import numpy as np
import pytest
from PIL import Image

from mmjax.data.kinds import column_of
from mmjax.data.manifest import read

ROWS = 60
LABELS = ["cat", "dog", "owl"] * (ROWS // 3)


def kind_of(cells):
    return column_of(read({"x": cells, "y": [0] * len(cells)}), "x")


class TestKinds:
    @pytest.mark.parametrize(
        ("cells", "kind", "reason"),
        [
            ([f"a plain review number {i}" for i in range(50)], "text", "5.0 words"),
            ([f"short name{i}" for i in range(50)], "text", "short (2.0 words"),
            (["今日はとても良い天気です" + str(i) for i in range(50)], "text", "words a cell"),
            (["good one here", "bad one there"] * 20, "category", "2 different values"),
            (["red", "green", "blue"] * 3, "category", "values repeat"),
            (["oak", None, "elm", None] * 20, "category", "2 different values in 40 rows"),
            ([f"x{i}" for i in range(50)], "identifier", "different in every row"),
            (list(range(7, 57)), "identifier", "counts the rows"),
            ([str(i) for i in range(50)], "identifier", "counts the rows"),
            ([0.5 * i * i for i in range(50)], "number", "numbers from 0 to 1200.5"),
            (["1.5", "2", "-3e1", "N/A", None] * 3, "number", "numbers from -30 to 2"),
            ([1, 2, 3, 4, 5] * 20, "category", "5 whole numbers in 100 rows"),
            ([1.5, 2.5] * 50, "number", "numbers from 1.5 to 2.5"),
            ([True, False] * 5, "category", "true or false"),
            ([f"2026-01-{i:02d}" for i in range(1, 29)], "ignored", "dates"),
            ([datetime.datetime(2026, 1, 1, i % 24) for i in range(30)], "ignored", "dates"),
            ([["a", "b"]] * 5, "ignored", "structured cells (list of 2)"),
            ([{"a": 1}] * 5, "ignored", "structured cells (fields a)"),
            ([None] * 5, "ignored", "no cell has a value"),
            ([" "] * 5, "ignored", "no cell has a value"),
            (["x"] * 5, "ignored", "every cell is 'x'"),
            (["x"] * 5 + [None], "category", "values repeat"),
            (["a.JPG", "b c.jpeg", None], "image", "2 of 2 cells end like picture files"),
            ([f"{i}.wav" for i in range(9)], "audio", "9 of 9 cells end like sound files"),
            (["a.FLAC", "b.mp3", "c.opus"], "audio", "sound files"),
            ([f"{i}.mp4" for i in range(9)], "video", "9 of 9 cells end like video files"),
            ([f"{i}.m4a" for i in range(9)], "ignored", "files of sounds"),
            ([f"{i}.wmv" for i in range(9)], "ignored", "files of videos"),
            ([f"{i}.nii.gz" for i in range(9)], "volume", "9 of 9 cells end like volume files"),
            ([f"{i}.ply" for i in range(9)], "points", "9 of 9 cells end like point files"),
            ([f"{i}.csv" for i in range(9)], "ignored", "files of tables"),
            ([f"{i}.npy" for i in range(9)], "ignored", "none of which says what it holds"),
            ([np.zeros((5, 6, 7), np.float32)] * 3, "volume", "three axes of space"),
            ([b"\x89PNG...", None], "image", "encoded bytes"),
            ([b"RIFF\x00\x00\x00\x00WAVEfmt "], "audio", "encoded sounds"),
            ([b"\x00\x00\x00\x18ftypisom"], "video", "encoded videos"),
            ([{"bytes": b"fLaC", "path": "a"}] * 3, "audio", "encoded sounds, each with its path"),
            ([{"array": [0.1], "sampling_rate": 8000}] * 3, "audio", "each with its rate"),
            ([np.zeros((5, 4, 4, 3), np.uint8)] * 3, "video", "arrays of frames"),
            ([np.zeros((4, 4, 3), np.uint8)] * 3, "image", "arrays (uint8 [4, 4, 3])"),
            ([np.zeros(512, np.float32)] * 3, "ignored", "no pictures (float32 [512])"),
            ([Image.new("L", (2, 2))] * 3, "image", "pictures"),
            (["1_000", "2_000", "3_000"], "identifier", "different in every row"),
            (["١", "٢", "٣"] * 5, "category", "values repeat"),
        ],
    )
    def test_rules(self, cells, kind, reason):
        found = kind_of(cells)
        assert found.kind == kind
        assert reason in found.reason

    @pytest.mark.parametrize("name", ["id", "row_index", "patientId", "User ID", "uuid"])
    def test_names_of_identifiers(self, name):
        random = np.random.default_rng(0)
        table = read({name: random.choice(10_000, 200, replace=False).tolist()})
        assert column_of(table, name).kind == "identifier"

    @pytest.mark.parametrize("name", ["width", "paid", "humid", "monkey", "grid"])
    def test_names_that_only_end_alike(self, name):
        random = np.random.default_rng(0)
        table = read({name: random.choice(10_000, 200, replace=False).tolist()})
        assert column_of(table, name).kind == "number"

    def test_numbers_with_a_few_wrong_cells_stay_numbers_with_a_warning(self):
        cells = [str(0.5 * i) for i in range(40)]
        cells[17] = "1,5"
        found = kind_of(cells)
        assert found.kind == "number"
        assert found.warning == "1 of its cells are no numbers, the first '1,5' at frame:17:x"

    def test_counts(self):
        found = kind_of(["a", "b", None, "a", ""])
        assert (found.missing, found.distinct) == (2, 2)

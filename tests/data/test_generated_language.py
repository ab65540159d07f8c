"""Generated texts: the same from a seed, and what is to be written follows from what is given."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.config import sources

SCENES = ("answers", "dialogues", "questions", "speech", "summaries")


def _read(scene, rows=60, **options):
    return sources.build("generated_language", scene=scene, rows=rows, **options).read()


def _rows(table):
    return [table.row(i) for i in range(len(table))]


@pytest.mark.parametrize("scene", SCENES)
def test_a_row_depends_on_the_seed_and_its_number_alone(scene):
    few, more, other = _read(scene, 25), _read(scene, 60), _read(scene, 25, seed=1)
    assert len(few) == 25
    assert few.fingerprint != more.fingerprint != other.fingerprint
    assert set(few.column("split")) == {"train", "validation", "test"}
    for name, cells in few.columns.items():
        for row, cell in enumerate(cells):
            np.testing.assert_array_equal(cell, more.columns[name][row])
    assert any(
        not np.array_equal(a, b)
        for name in few.columns
        for a, b in zip(few.columns[name], other.columns[name], strict=True)
    )


@pytest.mark.parametrize(("scene", "group"), [("answers", "asked"), ("dialogues", "talk")])
def test_what_belongs_together_is_in_one_split(scene, group):
    splits = defaultdict(set)
    for row in _rows(_read(scene)):
        splits[row[group]].add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_one_answer_of_four_is_right_and_in_the_picture():
    rows = _rows(_read("answers", 200))
    assert set(Counter(row["asked"] for row in rows if row["right"]).values()) == {1}
    for row in rows:
        blocks = row["picture"].reshape(2, 6, 2, 6, 3)[:, 2:4, :, 2:4].std(axis=(1, 3, 4)) > 30
        channel = row["picture"][np.ptp(row["picture"], axis=-1) > 100].mean(axis=0).argmax()
        true = ("one", "two", "three", "four")[blocks.sum() - 1]
        if "colour" in row["question"]:
            true = ("red", "green", "blue")[channel]
        assert row["right"] == (row["answer"] == true)


def test_questions_are_answered_by_one_side():
    for row in _rows(_read("questions")):
        half = row["picture"][:, :6] if "left" in row["question"] else row["picture"][:, 6:]
        block = half[np.ptp(half, axis=-1) > 60].mean(axis=0)
        shade = "dark" if block.mean() < 90 else "light"
        assert row["answer"] == f"{shade} {('red', 'green', 'blue')[block.argmax()]}"


def test_replies_name_who_called():
    rows = _rows(_read("dialogues"))
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first["turn"], second["turn"]) == (0, 1)
        name = second["reply"].split(",")[0]
        assert f"this is {name}," in first["said"]
        assert name not in second["said"]


def test_tones_tell_letters_once_the_speaker_is_known():
    tones = defaultdict(set)
    for row in _rows(_read("speech", 40)):
        start = row["sound"][:400] * np.hanning(400)
        peak = np.abs(np.fft.rfft(start, 4000)).argmax()
        letter = "abcde".index(row["text"][0])
        wanted = 250 * (1.6 if row["speaker"] == "high" else 1.0) * 1.265**letter
        assert peak == pytest.approx(wanted, abs=4)
        tones[row["text"][0]].add(round(peak, -1))
    assert max(len(found) for found in tones.values()) > 1


def test_summaries_need_the_number():
    for row in _rows(_read("summaries")):
        weather, _, rest = row["summary"].partition(" in ")
        city, said = rest.split(", ")
        assert city in row["report"]
        key = {"rain": "rained", "snow": "snow", "sun": "sky", "fog": "fog"}[weather]
        assert key in row["report"]
        cold = row["degrees"] < 5
        assert said == ("cold" if cold else "mild" if row["degrees"] < 18 else "warm")


def test_what_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="scene = 'songs'"):
        sources.build("generated_language", scene="songs")

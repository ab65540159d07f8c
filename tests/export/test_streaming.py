"""Texts of an export a token at a time: what the run writes, in pieces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models

import mmjax
from mmjax.export.loaded import Exported, _settled
from mmjax.export.program import Prepared

FRAME = tiny_models.frame()
NAMES = ("dialogue", "generative_vqa", "summarization", "text_recognition", "speech_recognition")
MORE = {
    "sampled": {
        "decoding": {
            "max_new_tokens": 6,
            "do_sample": True,
            "top_k": 5,
            "suppress_tokens": (0, 1, 2, 3),
        }
    },
    "prefix": {"reads": "prefix"},
}


def _exported(tmp_path, name, task=None, **options):
    case = tiny_models.cases(tmp_path)[name]
    case["modalities"]["text"] = case["modalities"]["text"].replace(lengths=())
    case["task"] = (task or case["task"]).replace(**options)
    run = tiny_models.made(tmp_path / "run", case, seed=3)
    out = run.export(tmp_path / "out", batch_sizes=(2,), platforms=("cpu",), measure=False)
    return run, mmjax.export.load(out)


def _check(run, program, rows, *, alone=False):
    said = [] if alone else run.predict(FRAME)
    pieces = []
    for row in range(rows):
        raw = tiny_models.item(FRAME, row, run)
        found = list(program.stream(program.prepare(raw)))
        # What is drawn depends on the rows beside it.
        assert "".join(found) == (run.predict_one(**raw) if alone else said[row])["text"]
        pieces.append(len(found))
    return pieces


class Spelled:
    """Letters by id, and words of two."""

    def spell(self, ids):
        return "".join(" "[one:] or "no ends"[one - 1] for one in ids).strip()


def test_the_text_comes_as_it_is_settled(monkeypatch):
    program = object.__new__(Exported)
    program._steps = {(): {}}
    program._parameters, program._answers = {}, Spelled()
    monkeypatch.setattr(Exported, "_inputs", SimpleNamespace(collate=lambda *a: {}), raising=False)
    asked = []

    def step(bucket, name):
        def run(parameters, given):
            asked.append(name)
            done = len(asked)
            # "no ends", of which padding is behind.
            ids = np.array([[*range(1, done + 1), *[0] * (7 - done)]])
            return {"state": (), "ids": ids, "count": np.int32(done), "going": done < 7}

        return run

    monkeypatch.setattr(program, "_program", step)
    found = list(program.stream(Prepared({}, (), {})))
    assert asked == ["begin", *["proceed"] * 6]
    assert found == ["n", "o", " ends"]
    assert program.streams


@pytest.mark.slow
def test_pieces_are_the_text_of_the_run(tmp_path):
    letters = {"max_new_tokens": 6, "suppress_tokens": (0, 1, 2, 3)}
    run, program = _exported(tmp_path, "captioning", decoding=letters)
    assert program.streams
    before = program.compiles
    pieces = _check(run, program, 4)
    assert pieces == [6] * 4
    assert program.compiles == before + 2
    program.warm_up()
    # And the one of whole answers.
    assert program.compiles == before + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_every_task_that_writes(name, tmp_path):
    run, program = _exported(
        tmp_path, *([name] if name in NAMES else ["captioning"]), **MORE.get(name, {})
    )
    assert program.streams
    rows = tiny_models.ROWS if name in NAMES else 4
    _check(run, program, rows, alone=name == "sampled")


@pytest.mark.slow
def test_beams_come_whole(tmp_path):
    run, program = _exported(tmp_path, "translation")
    assert not program.streams
    assert set(_check(run, program, 3)) <= {0, 1}


def test_what_no_later_token_changes():
    # WordPiece joins "n't" to the word before, and a byte of three is no letter yet.
    assert _settled("I do n") == "I do"
    assert _settled("größ\ufffd") == "größ"
    assert _settled("word") == "word"

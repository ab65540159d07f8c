"""What `fit` chooses where a label is told by more than its own column."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_run

import mmjax
from mmjax.api import relations
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data import schema
from mmjax.data.config import sources
from mmjax.data.manifest import read, source_for
from mmjax.data.pipeline import prepare

PLACES = ("Rome", "York", "New Delhi")


def _spans(as_text=False):
    rows = []
    for i in range(24):
        name = PLACES[i % 3]
        cell = [{"start": 10, "end": 10 + len(name), "label": "place"}] if i % 4 else []
        rows.append(
            {
                "title": f"{i} postcards",
                "words": f"we are in {name} since {i} days",
                "parts": json.dumps(cell) if as_text else cell,
                "pages": i % 5 + 0.5,
            }
        )
    return {name: [row[name] for row in rows] for name in rows[0]}


def _questions():
    found = {"Question": [], "Passage": [], "answer": []}
    for i in range(24):
        found["Question"].append("where are we")
        found["Passage"].append(f"day {i // 2}: we are in {PLACES[i % 3]}")
        found["answer"].append(PLACES[i % 3] if i % 4 else None)
    return found


def _choices(path, times=True):
    rng = np.random.default_rng(0)
    lines = ["user,item,timestamp,title,age,note"]
    for user in range(8):
        for i, item in enumerate(rng.permutation(6)[:5]):
            when = f"2026-01-{20 - i:02d}" if times else ""
            lines.append(f"u{user},i{item},{when},film number {item} of six,{20 + user},n{i}")
    path.write_text("\n".join([*(line for line in lines), ""]))
    return path


@pytest.mark.parametrize("as_text", [False, True])
def test_spans_are_told_from_the_text_that_they_are_in(as_text):
    frame = _spans(as_text)
    config, lines = relations.propose(read(frame), "parts", Spec("frame"))
    config_lib.check(config)
    assert config.task.name == "token_classification"
    assert config.data.targets["spans"].options["text"] == "words"
    assert set(config.model.encoders) == {"text", "text_more", "table"}
    assert config.data.modalities["text"].options["offsets"]
    assert "label parts: spans of the text 'words', 0.8 a row" in lines
    data = prepare(config.data, frame=frame)
    assert data.facts["targets"]["spans"]["span_names"] == ("place",)


def test_answers_are_looked_for_in_the_context():
    frame = _questions()
    config, lines = relations.propose(read(frame), "answer", Spec("frame"))
    config_lib.check(config)
    assert config.task.name == "extractive_qa"
    assert config.data.split.group == "Passage"
    assert any("the part of 'Passage' that answers 'Question'" in line for line in lines)
    data = prepare(config.data, frame=frame)
    assert data.facts["targets"]["label"]["unanswerable"] > 0
    with data.loader("train", train=False) as loader:
        batch = next(loader)
    for row, ranges in zip(batch.row, batch.targets["label"], strict=True):
        if row >= 0:
            start, end = ranges[0]
            said = frame["Passage"][row][start:end] if start >= 0 else None
            assert said == frame["answer"][row]


def test_items_of_users_are_told_by_their_names(tmp_path):
    path = _choices(tmp_path / "seen.csv")
    config, lines = relations.propose(read(path), "item", source_for(path))
    config_lib.check(config)
    assert config.task.name == "recommendation"
    assert set(config.model.encoders) == {"table", "history"}
    assert config.data.modalities["table"].options["categories"][0] == "user"
    target = config.data.targets["item"]
    assert [one.options["column"] for one in target.options["modalities"].values()] == ["title"]
    assert "of an item: title, text" in lines
    assert "of a user: age, number" in lines
    assert "not learnt from: note" in lines


def test_histories_are_in_the_order_of_time(tmp_path):
    path = _choices(tmp_path / "seen.csv")
    source = Spec("interactions", source=source_for(path), user="user", item="item")
    there = sources.build(source).read()
    dated = sources.build(source.replace(time="timestamp")).read()
    assert dated.column("split")[:5] == ["train"] * 3 + ["validation", "test"]
    for table in (there, dated):
        for row in range(0, len(table), 5):
            items = [table.column("item")[row + i] for i in range(5)]
            assert [table.column("history")[row + i] for i in range(5)] == [
                items[:i] for i in range(5)
            ]
    assert [there.column("item")[i] for i in range(5)] == [
        dated.column("item")[i] for i in range(4, -1, -1)
    ]
    assert there.fingerprint != dated.fingerprint
    with pytest.raises(DataError, match="no time beside others"):
        sources.build(
            source.replace(source=source_for(_choices(path, times=False)), time="timestamp")
        ).read()
    path.write_text("title,item\na,1\nb,2\n")
    with pytest.raises(DataError, match="no 'title' has three rows"):
        sources.build(source.replace(user="title")).read()


def test_what_is_not_plain_is_left_to_others(tmp_path):
    frame = _spans()
    assert relations.propose(read(frame), "title", Spec("frame")) is None
    assert relations.propose(read(frame), "parts", Spec("frame"), task="multi_label") is None
    frame["parts"][1] = [{"start": 10, "end": 1000, "label": "place"}]
    assert relations.propose(read(frame), "parts", Spec("frame")) is None
    for task, label, said in (
        ("token_classification", "parts", "no column of text in which"),
        ("extractive_qa", "title", "no column is named like a question"),
        ("recommendation", "title", "no column is named like the users"),
    ):
        with pytest.raises(DataError, match=f"MMX-254.*{said}"):
            relations.propose(read(frame), label, Spec("frame"), task=task)
    choices = {"user": ["a", "b"] * 9, "item": [str(i % 5) for i in range(18)]}
    with pytest.raises(ConfigError, match=r"write it to a \.csv"):
        relations.propose(read(choices), "item", Spec("frame"))
    assert schema.infer(read(choices), "item").targets["label"].name == "category"
    assert relations.propose(read(choices), "item", Spec("frame"), task="classification") is None


@pytest.mark.slow
def test_from_a_file_to_a_list_of_films(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    told = []
    with tiny_run.one_device():
        run = mmjax.fit(
            _choices(tmp_path / "seen.csv"),
            "item",
            tmp_path / "run",
            settings=[
                "train.duration=2 steps",
                "data.batch_size=8",
                "data.threads=1",
                "data.targets.item.modalities.text.buckets=64",
            ],
            tell=told.append,
        )
        answer = run.predict_one(history="i0|i1|i2", user="u1")
    assert run.metrics["test"]["users"] == 8
    assert not {"i0", "i1", "i2"} & set(answer["items"])
    assert any("6 items of 8 users" in line for line in told)

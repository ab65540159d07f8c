"""Predictions of many rows: blocks, resuming, processes that die, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmjax.core.errors import ConfigError, DataError, TransientError
from mmjax.export.program import Input, Prepared, Result
from mmjax.serve.bulk import running
from mmjax.serve.bulk.answering import Answerer, columns_of
from mmjax.serve.bulk.job import Job, Work, part_of
from mmjax.serve.bulk.rows import plan
from mmjax.serve.bulk.workers import answer_by_processes

COLUMNS = ("words", "picture")
ROWS = 25


class Program:
    """Counts the letters of a text and the bytes of a picture; no row may be in a bad mood."""

    batch_sizes = (1, 2, 3)
    inputs = (
        Input("text", "text", False, ("words",), "a text"),
        Input("image", "image", False, ("picture",), "a picture"),
    )

    def __init__(self):
        self.batches = []

    def prepare(self, example, *, paths=False):
        assert not paths
        assert set(example) == set(COLUMNS)
        if example["words"] == "bad":
            raise DataError(503, "a bad text", where="words")
        return Prepared(example, len(example["words"] or "") % 2, {})

    def run(self, prepared):
        assert len({one.bucket for one in prepared}) == 1
        assert len(prepared) <= 3
        self.batches.append(len(prepared))
        counted = [{k: len(v or "") for k, v in one.arrays.items()} for one in prepared]
        return [
            Result({}, {"letters": one["words"], "bytes": one["picture"], "p": math.nan})
            for one in counted
        ]


_WORKER = """
import json, os, sys
work = json.loads(sys.stdin.readline())
for line in sys.stdin:
    block = json.loads(line)
    path = f"{work['parts']}/{block['number']:08d}.jsonl"
    mark = f"{work['model']}/{block['number']}"
    if block["number"] % 2 and (not os.path.exists(mark) or work["threads"] == 1):
        open(mark, "w").close()
        open(path.replace("/0", "/.0") + ".tmp", "w").write("half a li")
        os.kill(os.getpid(), 9)
    with open(path + ".new", "w") as file:
        for row in range(block["first"], block["first"] + block["rows"]):
            print(json.dumps({"row": row}), file=file)
    os.rename(path + ".new", path)
    print(json.dumps({"block": block["number"]}), flush=True)
"""


def _rows(count: int = ROWS) -> list[dict]:
    return [
        {
            "key": f"k{i}",
            "words": f'row "{i}",\nof {count}' if i % 3 else f"größe {i}",
            "picture": "a.png" if i % 2 else "",
        }
        for i in range(count)
    ]


def _csv(folder: Path, rows: list[dict], name: str = "rows.csv") -> Path:
    lines = [",".join(rows[0])]
    for row in rows:
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()))
    lines.insert(3, "")
    path = folder / name
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode() + b"\n")
    return path


def _jsonl(folder: Path, rows: list[dict]) -> Path:
    path = folder / "rows.jsonl"
    lines = [json.dumps({k: v for k, v in row.items() if v}) for row in rows]
    path.write_text("\n".join([*lines[:5], "", *lines[5:]]))
    return path


def _parquet(folder: Path, rows: list[dict]) -> Path:
    path = folder / "rows.parquet"
    cells = {name: [row[name] or None for row in rows] for name in rows[0]}
    pq.write_table(pa.table(cells), path, row_group_size=10)
    return path


def _job(folder: Path, path: Path, *, size: int = 4, **options) -> Job:
    (folder / "a.png").write_bytes(b"12345")
    assert columns_of(Program.inputs) == COLUMNS
    found = plan(path, columns=COLUMNS, size=size, root=str(folder), id_column="key")
    return Job(folder / "out", found, "model", **options)


def _work(job: Job, model: str = "", threads: int = 2) -> Work:
    return Work(model, job.plan.source, str(job.parts), threads)


def _answer(job: Job, blocks=None) -> None:
    answerer = Answerer(Program(), _work(job))
    for block in job.pending() if blocks is None else blocks:
        answerer.write(block)


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("write", [_csv, _jsonl, _parquet])
def test_a_block_is_read_as_the_rows_are(tmp_path, write):
    rows = _rows()
    job = _job(tmp_path, write(tmp_path, rows))
    assert job.plan.rows == ROWS
    sizes = [one.rows for one in job.plan.blocks]
    assert max(sizes) == 4
    assert [one.first for one in job.plan.blocks] == [sum(sizes[:i]) for i in range(len(sizes))]
    # In any order, as workers have them.
    found = [row for block in reversed(job.plan.blocks) for row in job.plan.source.read(block)]
    wanted = [{name: cell or None for name, cell in row.items()} for row in rows]
    assert sorted(found, key=lambda row: int(row["key"][1:])) == wanted


def test_a_folder_of_manifests_is_one(tmp_path):
    (tmp_path / "in").mkdir()
    rows = _rows()
    _csv(tmp_path / "in", rows[:10], "a.csv")
    _csv(tmp_path / "in", rows[10:], "b.csv")
    job = _job(tmp_path, tmp_path / "in")
    with job.held(resume=False):
        _answer(job)
        found = _read(job.finish())
    assert [one["id"] for one in found] == [row["key"] for row in rows]
    assert [one["row"] for one in found] == list(range(ROWS))


def test_every_id_once_whatever_was_written_before(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows()))
    with job.held(resume=False):
        _answer(job, job.plan.blocks[2:4])
    # What a kill leaves: half a file that has no name yet, and a block that is done again.
    (job.parts / ".00000004.jsonl.x.tmp").write_text('{"row": 16')
    again = _job(tmp_path, tmp_path / "rows.csv")
    with pytest.raises(DataError, match="--resume"), again.held(resume=False):
        pass
    with again.held(resume=True):
        assert [one.number for one in again.pending()] == [0, 1, 4, 5, 6]
        before = part_of(job.parts, 3).read_bytes()
        _answer(again, [*again.pending(), job.plan.blocks[3]])
        assert part_of(job.parts, 3).read_bytes() == before
        found = _read(again.finish())
    assert [one["id"] for one in found] == [row["key"] for row in _rows()]
    assert [one["letters"] for one in found] == [len(row["words"]) for row in _rows()]
    assert [one["bytes"] for one in found] == [5 * (i % 2) for i in range(ROWS)]
    assert {one["p"] for one in found} == {None}
    # Killed behind the merge, before the parts were removed.
    (job.parts).mkdir(exist_ok=True)
    part_of(job.parts, 0).write_text("{}\n")
    content = job.path.read_bytes()
    with again.held(resume=True):
        assert again.pending() == []
        assert again.finish().read_bytes() == content
    assert sorted(one.name for one in job.out.iterdir() if one.name[0] != ".") == [
        "job.json",
        "predictions.jsonl",
    ]


def test_a_bad_row_fails_alone(tmp_path):
    rows = _rows(6)
    rows[1]["words"] = "bad"
    rows[3]["picture"] = "../secret.png"
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    job = _job(tmp_path / "in", _csv(tmp_path / "in", rows))
    with job.held(resume=False):
        _answer(job)
        found = _read(job.finish())
    assert found[1] == {"row": 1, "id": "k1", "error": {"code": "MMX-503", "message": "a bad text"}}
    assert found[3]["error"]["code"] == "MMX-301"
    assert "error" not in found[5]
    assert found[5]["bytes"] == 5


class Moody(Program):
    """Cannot bear one picture, and with `alone` none at all."""

    def __init__(self, alone=False):
        super().__init__()
        self.alone = alone

    def run(self, prepared):
        if self.alone or any(one.arrays["words"] == "größe 3" for one in prepared):
            raise RuntimeError("no")
        return super().run(prepared)


def test_a_row_that_the_model_fails_on_fails_alone(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows(6)))
    found = [json.loads(one) for one in Answerer(Moody(), _work(job)).lines(job.plan.blocks[0])]
    assert [one.get("error", {}).get("code") for one in found] == [None, None, None, "MMX-814"]
    with pytest.raises(TransientError, match="failed on all 4 rows"):
        list(Answerer(Moody(alone=True), _work(job)).lines(job.plan.blocks[0]))


def no_even_letters(example, result):
    letters = result.answer["letters"]
    assert letters == len(example["words"])
    return None if letters % 2 == 0 else dataclasses.replace(result, answer={"odd": letters})


def test_answers_go_through_the_filter(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows(6)))
    work = dataclasses.replace(_work(job), filter=f"{__name__}:no_even_letters")
    found = [json.loads(one) for one in Answerer(Program(), work).lines(job.plan.blocks[0])]
    for row, said in zip(_rows(4), found, strict=True):
        if len(row["words"]) % 2:
            assert said["odd"] == len(row["words"])
        else:
            assert said["error"] == {"code": "MMX-817", "message": "the answer is withheld"}
    with pytest.raises(ConfigError, match="no_such"):
        Answerer(Program(), dataclasses.replace(work, filter=f"{__name__}:no_such"))
    with job.held(resume=False):
        pass
    with pytest.raises(DataError, match="has filter None"):
        dataclasses.replace(job, filter=work.filter).held(resume=True).__enter__()


def test_batches_are_full_where_they_can_be(tmp_path):
    program = Program()
    job = _job(tmp_path, _csv(tmp_path, _rows()), size=25)
    list(Answerer(program, _work(job)).lines(job.plan.blocks[0]))
    assert sum(program.batches) == ROWS
    # Two buckets: at most one batch of each is not full.
    assert sum(size < 3 for size in program.batches) <= 2


def test_shards_are_all_rows_once(tmp_path):
    path = _csv(tmp_path, _rows())
    ids = []
    for shard in range(3):
        job = _job(tmp_path, path, shard=shard, shards=3)
        with job.held(resume=False):
            _answer(job)
            assert job.finish().name == f"predictions-{shard:05d}-of-00003.jsonl"
        ids += [one["id"] for one in _read(job.path)]
    assert sorted(ids) == sorted(row["key"] for row in _rows())
    with pytest.raises(DataError, match="has shards 3, this one 2"):
        _job(tmp_path, path, shard=0, shards=2).held(resume=True).__enter__()
    with pytest.raises(ConfigError, match="3/3"):
        running.checked((3, 3))


def test_a_worker_that_dies_is_replaced(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows()))
    done = []
    (tmp_path / "marks").mkdir()
    with job.held(resume=False):
        answer_by_processes(
            _work(job, str(tmp_path / "marks")),
            job.pending(),
            lambda block: done.append(block.number),
            workers=2,
            command=[sys.executable, "-ISc", _WORKER],
        )
        found = _read(job.finish())
    assert sorted(done) == list(range(7))
    assert len(list((tmp_path / "marks").iterdir())) == 3
    assert [one["row"] for one in found] == list(range(ROWS))


def test_a_block_that_workers_die_of_ends_the_job(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows(8)))
    (tmp_path / "marks").mkdir()
    command = [sys.executable, "-ISc", _WORKER]
    work = _work(job, str(tmp_path / "marks"), threads=1)
    with job.held(resume=False), pytest.raises(TransientError, match=r"3 processes died.*block 1"):
        answer_by_processes(work, job.pending(), print, workers=1, command=command)


def test_one_process_a_share(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows()))
    with (
        job.held(resume=False),
        pytest.raises(TransientError, match="another process"),
        job.held(resume=True),
    ):
        pass


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[7].update(key="k2"), "'k2' occurs in rows 2 and 7"),
        (lambda rows: rows[7].update(key=""), "row 7 has no id"),
        (lambda rows: [row.pop("picture") for row in rows], "no column 'picture'"),
        (lambda rows: rows[7].update(more="x"), "4 fields, expected 3"),
    ],
)
def test_rows_that_are_refused(tmp_path, change, told):
    rows = _rows()
    change(rows)
    with pytest.raises(DataError, match=told):
        _job(tmp_path, _csv(tmp_path, rows))


def test_other_rows_are_another_job(tmp_path):
    job = _job(tmp_path, _csv(tmp_path, _rows()))
    with job.held(resume=False):
        pass
    other = _job(tmp_path, _csv(tmp_path, _rows(24)))
    with pytest.raises(DataError, match="has rows 25, this one 24"), other.held(resume=True):
        pass


def test_rows_without_ids_have_numbers(tmp_path):
    found = plan(_jsonl(tmp_path, _rows()), columns=("words",), size=4, wanted_id="index")
    assert found.source.id_column is None
    work = Work("", found.source, str(tmp_path), 1)
    program = Program()
    program.prepare = lambda example, paths=False: Prepared({**example, "picture": ""}, 0, {})
    lines = [json.loads(one) for one in Answerer(program, work).lines(found.blocks[1])]
    assert [(one["row"], one["id"]) for one in lines] == [(4, 4), (5, 5), (6, 6)]


def test_a_dialogue_is_not_rows():
    with pytest.raises(ConfigError, match="rows are answered alone"):
        columns_of([Input("said", "dialogue", False, ("text",), "texts")])

"""A reader of a mixture of tar and ArrayRecord shards that is killed, against one that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import reader_lives
from tar_files import samples, write_tar

from mmjax.core.registry import Spec
from mmjax.data.shard_writers import Layout, new_shard

STEPS, KILLS = 24, 3


def test_killed_readers_go_on_with_the_same_batches(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i in range(3):
        members = samples(20 * i, 20)
        if i == 1:
            members["000025.png"] = b"damaged"
        write_tar(tmp_path / f"{i}.tar", members)
    with new_shard(tmp_path / "a.array_record", "arrayrecord", Layout(("text",))) as shard:
        for i in range(30):
            shard.write(f"r{i}", {"text": f"words of {i}"}, "here")
    tar = {"name": "webdataset", "splits": {"train": [str(tmp_path / "*.tar")]}}
    words = {"name": "arrayrecord", "paths": [str(tmp_path / "a.array_record")]}
    weights = {"tar": 0.7, "words": 0.3}
    source = {"name": "mixture", "sources": {"tar": tar, "words": words}, "weights": weights}
    (tmp_path / "source.json").write_text(json.dumps(source))
    done = subprocess.run(
        [sys.executable, reader_lives.__file__, "source.json", ".", str(STEPS), str(KILLS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["-9"] * KILLS + ["0"]
    spec = Spec(
        "mixture",
        sources={
            "tar": Spec("webdataset", splits={"train": (str(tmp_path / "*.tar"),)}),
            "words": Spec("arrayrecord", paths=(str(tmp_path / "a.array_record"),)),
        },
        weights=weights,
    )
    data = reader_lives.dataset(spec, threads=0, on_bad_sample="quarantine")
    with data.loader("train", train=True, seed=3) as loader:
        undisturbed = [(str(i), reader_lives.digest(next(loader))) for i in range(STEPS)]
    lines = [tuple(line.split()) for line in (tmp_path / "batches").read_text().splitlines()]
    # A step that was made and not noted is made again, and is the same.
    assert len(lines) >= STEPS
    assert sorted(set(lines), key=lambda line: int(line[0])) == undisturbed
    assert {bad.where for bad in data.quarantine.found} == {f"{tmp_path / '1.tar'}:000025"}

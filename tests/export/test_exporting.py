"""The folder of an export: what is in it, what refuses it, and what it takes to be loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_models
import tiny_run

import mmjax
from mmjax.api import exporting
from mmjax.cli import main
from mmjax.core.errors import CheckpointError, ConfigError, DataError
from mmjax.core.extras import MissingExtra
from mmjax.export import folder as folders
from mmjax.export import variants
from mmjax.export.tracing import Traced
from mmjax.export.variants import flatten

FRAME = tiny_models.frame()

_LOAD = """
import json, sys
BLOCKED = set("flax optax orbax grain transformers pandas pyarrow sklearn matplotlib rich".split())
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not for serving")
sys.meta_path.insert(0, Blocker())
import mmjax
program = mmjax.export.load(sys.argv[1])
print(json.dumps(program.predict(json.loads(sys.argv[2]))))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    case = tiny_models.cases(folder)["classification"]
    return tiny_models.made(folder / "run", case)


@pytest.fixture(scope="module")
def out(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    return run.export(out, batch_sizes=(1, 4), data=FRAME, license="CC-BY-4.0", by=["place"])


@pytest.fixture(scope="module")
def program(out):
    return mmjax.export.load(out)


def test_the_folder_says_what_it_is(out, program, run):
    sums = (out / folders.SUMS).read_text().splitlines()
    listed = {line[66:]: line[:64] for line in sums}
    files = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert set(listed) == files - {folders.SUMS}
    for name, expected in listed.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == expected
    assert program.digest == hashlib.sha256((out / folders.SUMS).read_bytes()).hexdigest()
    card = (out / folders.CARD).read_text()
    metrics = run.evaluate(FRAME)
    assert f"| accuracy | {metrics['accuracy']:.4f} |" in card
    for told in ("CC-BY-4.0", "cpu, cuda, tpu", "may, no, yes", "largest difference"):
        assert told in card
    groups = re.findall(r"\| (land|sea) \| 6 \| (\S+) \|", card.partition("## Subgroups")[2])
    assert sum(float(one) for _, one in groups) / 2 == pytest.approx(metrics["accuracy"], abs=1e-3)
    assert "Gap in accuracy by place" in card
    assert program.metadata["metrics"]["accuracy"] == pytest.approx(metrics["accuracy"])
    assert program.labels == ("may", "no", "yes")
    assert program.buckets == ((8,), (12,))
    text, table = program.inputs
    assert (text.kind, text.limits["max_tokens"], text.required) == ("text", 12, False)
    assert table.fields["place"] == {"kind": "category", "values": ["land", "sea"]}
    # No way of the machine that made it is told.
    assert str(run.folder.path.parent) not in (out / folders.MANIFEST).read_text() + card


def test_an_answer_does_not_depend_on_its_batch(program, run):
    rows = [0, 3, 1, 4]
    items = [program.prepare(tiny_models.item(FRAME, row, run)) for row in rows]
    assert [one.bucket for one in items] == [(8,), (8,), (12,), (12,)]
    short = items[:2]
    compiled = program.compiles
    together, alone = program.run(short), [program.run([one])[0] for one in short]
    assert program.compiles - compiled <= 2
    for one, other, row in zip(together, alone, rows[:2], strict=True):
        np.testing.assert_allclose(
            one.arrays["probabilities"], other.arrays["probabilities"], atol=1e-6
        )
        expected = run.predict_one(**tiny_models.item(FRAME, row, run))
        assert one.answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    with pytest.raises(ConfigError, match="2 buckets"):
        program.run(items)
    with pytest.raises(ConfigError, match="4 or fewer"):
        program.run(short[:1] * 5)
    with pytest.raises(ConfigError, match="writes no text"):
        list(program.stream(short[0]))


def test_a_variant_is_measured_beside_what_was_trained(run, monkeypatch):
    flat = flatten(jax.device_get(run._loaded[0]))
    dtypes = {name: value.dtype for name, value in flat.items()}
    metrics = run.evaluate(FRAME)
    # Matrices this small stay as they are.
    for least, tolerance in ((10**6, 0.0), (1, 0.5)):
        monkeypatch.setattr(variants, "_LEAST", least)
        kept = variants.stored(flat, "int8")
        found = exporting._measured(run, "int8", kept, dtypes, FRAME, None).of
        assert found["f32"]["log_loss"] == pytest.approx(metrics["log_loss"])
        apart = abs(found["int8"]["log_loss"] - metrics["log_loss"])
        assert apart <= tolerance
        assert (apart > 0) == (least == 1)
    assert exporting._measured(run, "f32", flat, dtypes, None, None).notes


def test_onnx_says_what_it_needs(run, tmp_path):
    if importlib.util.find_spec("jax2onnx") is None:
        with pytest.raises(MissingExtra, match="jax2onnx is not installed"):
            mmjax.export_onnx(run, tmp_path / "a.onnx")


def test_serving_takes_no_flax(out, run):
    given = {"text": tiny_models.WORDS, "weight": 2.0}
    found = subprocess.run(
        [sys.executable, "-c", _LOAD, str(out), json.dumps(given)],
        capture_output=True,
        text=True,
        env=tiny_run.environment(),
        check=False,
    )
    assert found.returncode == 0, found.stderr
    said, expected = json.loads(found.stdout), run.predict_one(**given)
    assert said.keys() == expected.keys()
    assert said["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


def _cut(folder):
    path = folder / folders.PARAMETERS
    path.write_bytes(path.read_bytes()[:-9])


def _flip(folder):
    path = folder / "programs/0.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _lose(folder):
    (folder / "processors/table/table.json").unlink()


def _cut_sums(folder):
    path = folder / folders.SUMS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))


def _change(**changes):
    def change(folder):
        manifest = json.loads((folder / folders.MANIFEST).read_text())
        (folder / folders.MANIFEST).write_text(json.dumps({**manifest, **changes}))
        (folder / folders.SUMS).unlink()
        folders._write_sums(folder)

    return change


@pytest.mark.parametrize(
    ("harm", "code", "told"),
    [
        (_cut, 661, "parameters.safetensors' is damaged"),
        (_flip, 661, "0.bin' is damaged"),
        (_lose, 661, "table.json' is missing"),
        (_cut_sums, 661, "does not list"),
        (_change(format=99), 662, "format 99"),
        (_change(platforms=["tpu"]), 663, "exported for tpu, this machine computes on cpu"),
        (shutil.rmtree, 660, "no exported model"),
    ],
)
def test_a_bad_folder_is_refused_in_one_line(out, tmp_path, harm, code, told):
    shutil.copytree(out, tmp_path / "bad")
    harm(tmp_path / "bad")
    with pytest.raises(CheckpointError, match=told) as caught:
        mmjax.export.load(tmp_path / "bad")
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_half_an_export_is_none(run, out, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="is there already"):
        run.export(out)
    monkeypatch.setattr(exporting, "write_parameters", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.export(tmp_path / "half", batch_sizes=(1,), platforms=("cpu",), measure=False)
    assert list(tmp_path.iterdir()) == []
    for options, told in (
        ({"variant": "int4"}, "no variant"),
        ({"platforms": ("gpu",)}, "cpu, cuda, tpu"),
        ({"batch_sizes": (0,)}, "batch sizes"),
        ({"lengths": {"table": (4,)}}, "lengths of 'table'"),
        ({"lengths": {"text": (40,)}}, "1 to 12"),
    ):
        with pytest.raises(ConfigError, match=told):
            run.export(tmp_path / "wrong", **{"measure": False, **options})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "the item has not any of text, table"),
        ({"text": " "}, "has not any of"),
        ({"words": 1.0, "txt": "a"}, "reads no 'txt'.*did you mean 'text'"),
        ({"text": b"abc"}, "3 bytes.*a text"),
        ({"weight": "heavy"}, "'heavy' is no number.*item:weight"),
        ({"weight": float("nan")}, "no finite number"),
        ({"table": 3}, "a mapping of columns: weight, place"),
        ({"table": {"wait": 3}}, "did you mean 'weight'"),
        ([], "an item of type list"),
    ],
)
def test_an_item_is_checked_before_the_model(program, given, told):
    with pytest.raises(DataError, match=told):
        program.prepare(given)


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(exporting, "load_run", lambda _: run)
    monkeypatch.setattr(exporting, "trace", lambda *_, **given: ([_traced()], (1,)))
    arguments = ["export", "RUN", str(tmp_path / "out"), "--no-measure", "--variant", "bf16"]
    assert main([*arguments, "--lengths", "text=4,6", "--name", "kinds"]) == 0
    assert "MB, card" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / folders.MANIFEST).read_text())
    assert manifest["lengths"] == {"text": [4, 6, 12]}
    assert (manifest["name"], manifest["variant"]) == ("kinds", "bf16")
    assert "not measured at export" in (tmp_path / "out" / folders.CARD).read_text()
    assert main([*arguments, "--lengths", "text"]) == 2
    assert "text=16,64" in capsys.readouterr().err


def _traced():
    return Traced((4,), None, b"", (("probabilities", "float32", (3,)),))

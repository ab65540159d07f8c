"""What is exported answers as the run does, whatever the task."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_models

import mmjax
from mmjax import tasks

FRAME = tiny_models.frame()
QUICK = ("several",)
"""Four heads in one program, of one shape and for one platform."""


def test_every_task_has_a_case(tmp_path):
    assert set(tiny_models.cases(tmp_path)) == set(tasks.registry)


@pytest.mark.parametrize(
    "name",
    [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in tasks.registry],
)
def test_an_export_answers_as_the_run_does(name, tmp_path):
    case = tiny_models.cases(tmp_path)[name]
    options = {"batch_sizes": (2, 4)}
    if name in QUICK:
        case["modalities"]["text"] = case["modalities"]["text"].replace(lengths=())
        options = {"batch_sizes": (4,), "platforms": ("cpu",)}
    run = tiny_models.made(tmp_path / "run", case)
    evaluation = run.evaluate_dataset(run.dataset(FRAME), "all")
    said = run.predict(FRAME)
    out = mmjax.export(run, tmp_path / "out", measure=False, **options)
    program = mmjax.export.load(out)
    assert program.task == name
    assert isinstance(program, mmjax.export.program.Program)
    items = [
        program.prepare(tiny_models.item(FRAME, row, run))
        for row in range(4 if name in QUICK else 8)
    ]
    found = {}
    for bucket in {one.bucket for one in items}:
        own = [row for row, one in enumerate(items) if one.bucket == bucket]
        for start in range(0, len(own), 3):
            rows = own[start : start + 3]
            found |= zip(rows, program.run([items[row] for row in rows]), strict=True)
    assert len(found) == len(items)
    for row, result in found.items():
        assert set(result.arrays) == {one.name for one in program.outputs}
        for output in program.outputs:
            value = result.arrays[output.name]
            assert str(value.dtype) == output.dtype
            assert value.shape == output.shape
            if output.name not in evaluation.predictions:  # the fusion's weights
                assert output.name == "modality_weights"
                continue
            whole = evaluation.predictions[output.name][row]
            if value.shape == whole.shape:
                np.testing.assert_allclose(value, whole, rtol=1e-5, atol=1e-5)
        _close(json.loads(json.dumps(result.answer)), said[row])


def _close(value, expected):
    """Equal but for numbers that are 1e-5 apart."""
    if isinstance(value, dict):
        assert value.keys() == expected.keys() - {"row", "id"}
        for key, inner in value.items():
            _close(inner, expected[key])
    elif isinstance(value, list):
        for one, other in zip(value, expected, strict=True):
            _close(one, other)
    elif isinstance(value, float):
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)
    else:
        assert value == expected

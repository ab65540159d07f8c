"""Attention over a picture, from an export and from the run that it was made of."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models

import mmjax
from mmjax.api.explaining import explain
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec

FRAME = tiny_models.frame()
CASE = {
    "task": Spec("classification"),
    "targets": {"label": Spec("category", column="kind")},
    "modalities": {"image": tiny_models._IMAGE},
}
VIT = {"image": Spec("vit", width=8, depth=2, heads=2, mlp_dim=8, patch=2)}


@pytest.mark.slow
def test_an_export_gives_the_attention_of_its_run(tmp_path):
    run = tiny_models.made(tmp_path / "run", {**CASE, "encoders": VIT})
    out = run.export(
        tmp_path / "out", platforms=("cpu",), batch_sizes=(1,), data=FRAME, attention=True
    )
    program = mmjax.export.load(out)
    (told,) = [one for one in program.outputs if one.name == "attention_image"]
    assert told.shape == (8, 8)
    for one in explain(run, FRAME, methods=["attention"], rows=2, check=False):
        item = program.prepare(tiny_models.item(FRAME, one.row, run))
        (result,) = program.run([item])
        expected = np.asarray(one.parts["image"].values)
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(result.arrays["attention_image"], expected, atol=1e-5)


def test_a_model_without_attention_over_a_picture_is_refused(tmp_path):
    run = tiny_models.made(tmp_path / "run", CASE)
    with pytest.raises(ConfigError, match=r"MMX-109.*no attention over the tokens of a picture"):
        run.export(tmp_path / "out", platforms=("cpu",), measure=False, attention=True)
    assert not (tmp_path / "out").exists()

"""Models as ONNX beside themselves. Needs jax2onnx and onnxruntime, in an environment of their own.

`export_onnx` compares the file with the model to 1e-5 itself; here with what the run predicts. The
first two convert for any number of rows as well, but not where types of shapes are checked, as
tests do.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
import tiny_models

import mmjax
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.export.inputs import Inputs

FRAME = tiny_models.frame()
_SMALL = {"width": 8, "depth": 2, "heads": 2, "mlp_dim": 16, "scan": False}
_TEXT = tiny_models._TEXT.replace(lengths=())
CASES = {
    "text and picture": (
        {"text": _TEXT, "image": tiny_models._IMAGE},
        {"text": Spec("text_transformer", **_SMALL), "image": Spec("vit", patch=4, **_SMALL)},
        Spec("cross_attention", width=8, heads=2, depth=1, mlp_dim=16),
        4,
    ),
    "table and text": (
        {"table": tiny_models._TABLE, "text": _TEXT},
        {},
        Spec("gated", width=8),
        4,
    ),
    # Attention that is chosen by the platform, since so many tokens are long.
    "long text": (
        {"text": _TEXT.replace(max_length=256), "table": tiny_models._TABLE},
        {"text": Spec("text_transformer", **_SMALL)},
        Spec("concat", width=8),
        4,
    ),
    "text both ways": (
        {"text": _TEXT, "table": tiny_models._TABLE},
        {"text": Spec("text_rnn", width=8)},
        Spec("concat", width=8),
        4,
    ),
    "residual network": (
        {"image": tiny_models._IMAGE},
        {"image": Spec("resnet", stem=8, channels=(8, 16), depths=(1, 1))},
        Spec("concat", width=8),
        4,
    ),
    "frames and table": (
        {"sequence": tiny_models._SEQUENCE, "table": tiny_models._TABLE},
        {},
        Spec("concat", width=8),
        4,
    ),
}


def _made(tmp_path, name):
    modalities, encoders, fusion, rows = CASES[name]
    targets = tiny_models.cases(tmp_path)["classification"]["targets"]
    case = {
        "task": Spec("classification"),
        "targets": targets,
        "modalities": modalities,
        "encoders": encoders,
        "fusion": fusion,
    }
    return tiny_models.made(tmp_path / "run", case), rows


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_model_as_onnx(name, tmp_path):
    pytest.importorskip("jax2onnx")
    runtime = pytest.importorskip("onnxruntime")
    run, rows = _made(tmp_path, name)
    if name == "frames and table":
        with pytest.raises(ConfigError, match="--onnx-rows"):
            mmjax.export_onnx(run, tmp_path / "any.onnx")
    out = mmjax.export_onnx(run, tmp_path / "model.onnx", rows=rows)
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    inputs = Inputs.load(
        run.folder.read_config()["data"]["modalities"],
        run.folder.processors / "modalities",
        lengths={},
    )
    items = [inputs.prepare(tiny_models.item(FRAME, row, run)) for row in range(4)]
    fields = inputs.collate(items, (), 4)
    given = {
        "/".join(key.key for key in path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(fields)[0]
    }
    wanted = {one.name for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(None, {k: given[k] for k in wanted}), strict=True))
    said = run.evaluate_dataset(run.dataset(FRAME), "all").predictions["probabilities"][:4]
    np.testing.assert_allclose(found["probabilities"], said, atol=1e-5)


def test_what_onnx_cannot_say_is_refused_at_once(monkeypatch, tmp_path):
    from mmjax.api import exporting_onnx

    monkeypatch.setattr(exporting_onnx, "_needed", lambda name: None)
    run = tiny_models.made(tmp_path / "run", tiny_models.cases(tmp_path)["captioning"])
    with pytest.raises(ConfigError, match="'captioning' writes texts"):
        mmjax.export_onnx(run, tmp_path / "a.onnx")

"""A model whose pictures a Hugging Face processor prepares is served without transformers."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tiny_run

from mmjax.core.registry import Spec
from mmjax.data.pixels import CONFIG

FRAME = tiny_models.frame()
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image_processors.npz")

_LOAD = """
import base64, json, sys
sys.modules["transformers"] = None
import mmjax
program = mmjax.export.load(sys.argv[1])
print(json.dumps(program.predict({"picture": base64.b64decode(sys.argv[2])})))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clip", "convnext"])
def test_it_is_served_without_transformers(kind, tmp_path):
    source = tmp_path / "processor"
    source.mkdir()
    (source / CONFIG).write_text(str(GOLDEN[f"{kind}/config"]))
    case = tiny_models.cases(tmp_path)["classification"]
    case["modalities"] = {"image": Spec("image", columns=("picture",), processor=str(source))}
    run = tiny_models.made(tmp_path / "run", case)
    out = run.export(tmp_path / "out", batch_sizes=(1,), platforms=("cpu",), measure=False)
    manifest = json.loads((out / "export.json").read_text())
    assert manifest["metadata"]["needs"] == []
    assert manifest["modalities"]["image"]["processor"] == "saved"
    given = base64.b64encode(FRAME["picture"][0]).decode()
    found = subprocess.run(
        [sys.executable, "-c", _LOAD, str(out), given],
        capture_output=True,
        text=True,
        env=tiny_run.environment(),
        check=False,
    )
    assert found.returncode == 0, found.stderr
    wanted = run.predict_one(image=FRAME["picture"][0])
    said = json.loads(found.stdout)
    assert said["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-5)

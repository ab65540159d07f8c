"""Runs that were trained for objectives answer with vectors."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models

import mmjax
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.models.config import ModelConfig
from mmjax.tasks.answers import from_data, to_data
from mmjax.tasks.answers.vectors import Vectors
from mmjax.train.config import Config

FRAME = tiny_models.frame()


def test_vectors_are_told_where_they_are():
    answers = from_data(to_data(Vectors(("text", "image"), joint=True)))
    assert answers == Vectors(("text", "image"), joint=True)
    found = answers.decode(
        {"text": np.array([[0.6, 0.8], [0, 0]], np.float32), "image": np.eye(2, dtype=np.float32)}
    )
    assert found[1] == {"embeddings": {"text": None, "image": [0.0, 1.0]}}
    assert found[0]["embeddings"]["text"] == pytest.approx([0.6, 0.8])


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["contrastive", "masked_lm", "matching"])
def test_an_export_embeds_as_the_run_does(tmp_path, objective):
    encoders = {
        "text": Spec("text_transformer", width=8, depth=1, heads=2, mlp_dim=8),
        "image": Spec("image_cnn", channels=(8,), blocks=(0,), stem=4, groups=4, width=8),
    }
    whole = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                "text": Spec("text", column="words", vocab_size=80, max_length=12),
                "image": Spec("image", columns=("picture",), size=8, resize="squash"),
            },
            split=SplitConfig(column="split"),
            batch_size=4,
            threads=1,
        ),
        model=ModelConfig(
            encoders=encoders,
            fusion=Spec("merged_attention", width=8, heads=2, depth=1, mlp_dim=8),
            joint_dim=6,
        ),
        objectives={objective: Spec(objective)},
    )
    run = tiny_models.drawn(tmp_path / "run", whole, FRAME)
    wanted = run.embed(FRAME)
    out = run.export(tmp_path / "out", platforms=("cpu",), batch_sizes=(4,), data=FRAME)
    program = mmjax.export.load(out)
    assert program.task == "embedding"
    assert "vector" in (out / "README.md").read_text()
    rows = [{name: FRAME[name][row] for name in ("words", "picture")} for row in range(4)]
    found = program.run([program.prepare(row) for row in rows])
    spaces = set(wanted) - {"ids"}
    for row, result in enumerate(found):
        assert set(result.answer["embeddings"]) == spaces
        for name, vector in result.answer["embeddings"].items():
            if name == "text" and row == 2:
                assert vector is None
                continue
            np.testing.assert_allclose(vector, wanted[name][row], atol=1e-5)
    alone = program.predict({"text": FRAME["words"][0]})["embeddings"]
    assert alone["image"] is None
    np.testing.assert_allclose(alone["text"], wanted["text"][0], atol=1e-5)

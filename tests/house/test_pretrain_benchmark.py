"""The arithmetic of the pretraining benchmark, on vectors that are known."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.core.registry import Spec


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import emoji_vectors, pretrain_emoji

    return pretrain_emoji, emoji_vectors


def _vectors(noise):
    """Names and pictures of 40 things; Noto's drawings are as good as chance."""
    rng = np.random.default_rng(0)
    text = rng.normal(size=(40, 8))
    return {
        "text": text,
        "twemoji": text + noise * rng.normal(size=text.shape),
        "noto": rng.normal(size=text.shape),
    }


def test_recalls_of_each_drawing_and_of_both(benchmark):
    _, emoji_vectors = benchmark
    rows = np.arange(5, 35)
    vectors = _vectors(0.0)
    found = emoji_vectors.recalls(emoji_vectors.of_vectors(vectors, rows))
    assert found["twemoji"] == 1.0
    assert 0.1 < found["noto"] < 0.6  # 10 of 30 by chance
    assert found["mean"] == pytest.approx((found["twemoji"] + found["noto"]) / 2)
    assert found["noto"] < found["both drawings"] <= 1.0
    text, noto = (v[rows] for v in (vectors["text"], vectors["noto"]))
    text, noto = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (text, noto))
    ranks = [(s > np.diag(s)[:, None]).sum(1) for s in (text @ noto.T, noto @ text.T)]
    assert found["noto"] == pytest.approx(np.mean([(r < 10).mean() for r in ranks]))


def test_sums_weigh_both_alike(benchmark):
    _, emoji_vectors = benchmark
    first = np.array([[2.0, 0.0], [0.0, 4.0]])
    found = emoji_vectors.summed({"a": first}, {"a": 100 * first + 7})
    np.testing.assert_allclose(found["a"], 2 * (first - first.mean()) / first.std())


def test_a_taught_run_reads_the_teacher(benchmark, tmp_path):
    pretrain_emoji, emoji_vectors = benchmark
    config = config_lib.load(ROOT / "configs" / "pretrain_emoji.py")
    found = config_lib.check(pretrain_emoji.taught(config, tmp_path / "teacher.parquet", 1.0))
    assert found.data.joins[-1].source == Spec("parquet", path=str(tmp_path / "teacher.parquet"))
    lesson = found.objectives["distillation"].options
    assert lesson["vectors"] == emoji_vectors.TEACHER
    assert lesson["temperature"] == config.objectives["contrastive"].options["temperature"]
    assert set(emoji_vectors.TEACHER.values()) <= set(found.data.targets)
    assert {k: found.objectives[k] for k in config.objectives} == dict(config.objectives)


def test_the_table_has_what_was_measured(benchmark):
    pretrain_emoji, emoji_vectors = benchmark
    from benchmarks.pretrain_table import to_markdown

    recalls = emoji_vectors.recalls(emoji_vectors.of_vectors(_vectors(0.3), np.arange(40)))
    one = {"seconds": 61.0, "validation": recalls, "test": recalls}
    more = {
        "drawings": {"test": {"learnt": 0.5}},
        "objectives": {"matching accuracy": 0.8, "always no": 2 / 3},
        "languages": {"fr": 0.25},
    }
    runs = [
        {"row": pretrain_emoji.SCRATCH, "seed": 0, **one, **more},
        {"row": pretrain_emoji.ALIGNED, "seed": 0, **one},
    ]
    about = {"cores": 2, "cpu": "a cpu", "python": "3", "date": "today", "versions": {"jax": "1"}}
    table = to_markdown({**about, "runs": runs}, pretrain_emoji.ROWS)
    assert f"| alignment | {recalls['mean']:.3f} | {recalls['twemoji']:.3f} |" in table
    assert "| from scratch | 0.800 | 0.667 |" in table
    assert "| from scratch | 0.500 |" in table
    assert "fr 0.250" in table
    assert pretrain_emoji.MINILM not in table.replace("MiniLM, taught", "")

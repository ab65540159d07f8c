"""CTC: the loss and what is said against sums over all paths, and a run."""

from __future__ import annotations

import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import tiny_run

import mmjax
from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.data.config import DataConfig
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.text import WrittenText
from mmjax.models.config import ModelConfig
from mmjax.tasks.ctc import best_texts, collapse, frames_needed, prefix_beam
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

TEXTS = ("ab", "aa", "b", "abab", "a")
TABLE = Table(columns={"said": list(TEXTS)}, name="t", fingerprint="f")
PROCESSOR = WrittenText("said", tokenizer="characters", max_length=6).fit(TABLE, np.arange(5))
VOCABULARY = PROCESSOR.facts["vocab_size"]
LOGITS = np.random.default_rng(0).normal(size=(5, 4, VOCABULARY))
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)


def _task(**options):
    return tasks.registry.build(Spec("speech_recognition_ctc", **options), facts=PROCESSOR.facts)


def _batch() -> Batch:
    ids = [PROCESSOR.encode(one, Place(TABLE, i)) for i, one in enumerate(TEXTS)]
    return Batch({}, {}, {"label": PROCESSOR.collate(ids)}, np.arange(5) != 4, np.arange(5))


def _said(path):
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def _texts(log_p):
    """The probability of every text, summed over all paths."""
    found = defaultdict(float)
    for path in itertools.product(range(log_p.shape[1]), repeat=len(log_p)):
        found[_said(path)] += np.exp(sum(log_p[t, label] for t, label in enumerate(path)))
    return found


def _log_p(logits):
    return np.log(reference.softmax(logits))


def _loss(logits):
    # The fourth text needs more frames than there are with two equal labels, and the last row is
    # padding.
    losses, labels = 0.0, 0
    for row in range(4):
        ids = [int(one) for one in _batch().targets["label"][row] if one >= 0][:-1]
        losses -= np.log(_texts(_log_p(logits[row][MASK[row]]))[tuple(ids)])
        labels += len(ids)
    return losses / labels


def test_loss_and_gradient():
    task, batch = _task(), _batch()

    def ours(logits):
        return task.output({"logits": logits, "mask": jnp.asarray(MASK)}, batch)

    output, grads = jax.jit(lambda x: (ours(x), jax.grad(lambda y: ours(y).loss)(x)))(
        jnp.asarray(LOGITS, jnp.float32)
    )
    assert float(output.loss) == pytest.approx(_loss(LOGITS), rel=1e-4)
    assert float(output.weight) == 9
    step = np.random.default_rng(1).normal(size=LOGITS.shape)
    slope = (_loss(LOGITS + 1e-4 * step) - _loss(LOGITS - 1e-4 * step)) / 2e-4
    assert float((grads * step).sum()) == pytest.approx(slope, rel=1e-3)
    assert task.compute({k: np.asarray(v) for k, v in output.metrics.items()})["impossible"] == 0


def test_a_text_that_needs_more_frames_does_not_count():
    task, batch = _task(), _batch()
    short = MASK & (np.arange(4) < np.array([4, 2, 4, 4, 4])[:, None])
    logits = jnp.asarray(LOGITS, jnp.float32)
    output = task.output({"logits": logits, "mask": jnp.asarray(short)}, batch)
    assert float(output.weight) == 7
    assert np.isfinite(float(output.loss))
    found = task.compute({k: np.asarray(v) for k, v in output.metrics.items()})
    assert found["impossible"] == 0.25
    labels = jnp.array([[5, 5, 6], [5, 6, 0]])
    needed = frames_needed(labels, jnp.array([[1, 1, 1], [1, 1, 0]], bool))
    assert needed.tolist() == [4, 2]


def test_the_likeliest_path_and_the_likeliest_text():
    paths = np.random.default_rng(2).integers(0, 3, (20, 6))
    mask = np.arange(6) < np.random.default_rng(3).integers(0, 7, 20)[:, None]
    said, lengths = collapse(jnp.asarray(paths), jnp.asarray(mask), blank=0)
    for row in range(20):
        expected = _said(paths[row][mask[row]])
        assert tuple(np.asarray(said)[row, : int(lengths[row])].tolist()) == expected
    for seed in range(4):
        log_p = _log_p(np.random.default_rng(seed).normal(size=(4, 3)))
        texts = _texts(log_p)
        found = prefix_beam(log_p, beams=60, blank=0)
        assert {one: np.exp(score) for one, score in found} == pytest.approx(texts)
        best = max(texts, key=lambda one: texts[one])
        assert best_texts(log_p[None], [4], beams=60, blank=0)[0][0] == best
        assert prefix_beam(log_p, beams=3, blank=0)[0][1] <= found[0][1] + 1e-9
    assert prefix_beam(log_p[:0], beams=2, blank=0) == [((), 0.0)]


@pytest.mark.parametrize("beams", [1, 50])
def test_texts_of_logits(beams):
    task = _task(beams=beams)
    batch = Batch({}, {}, {}, np.ones(5, bool), np.arange(5))
    logits = jnp.asarray(LOGITS, jnp.float32)
    output = task.output({"logits": logits, "mask": jnp.asarray(MASK)}, batch)
    found = task.decode({k: np.asarray(v) for k, v in output.predictions.items()})
    for row, one in enumerate(found):
        log_p = _log_p(LOGITS[row][MASK[row]])
        score = log_p.max(axis=1).sum() if beams == 1 else np.log(max(_texts(log_p).values()))
        assert one["score"] == pytest.approx(score, rel=1e-4)
    with pytest.raises(ConfigError, match="beams = 0"):
        _task(beams=0).output({"logits": logits, "mask": jnp.asarray(MASK)}, batch)


@pytest.mark.slow
def test_a_run(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    rng = np.random.default_rng(0)
    said = [TEXTS[i % 4] for i in range(24)]
    frames = [
        np.concatenate([np.eye(2)["ab".index(one)][None].repeat(2, 0) for one in text])
        + rng.normal(size=(2 * len(text), 2)) * 0.1
        for text in said
    ]
    columns = {
        "said": said,
        "frames": [None if i % 9 == 8 else one.tolist() for i, one in enumerate(frames)],
        "place": [None if i % 5 == 4 else "xy"[i % 2] for i in range(24)],
    }
    config = Config(
        data=DataConfig(
            source=Spec("frame"),
            modalities={
                "audio": Spec("sequence", column="frames", max_length=8),
                "table": Spec("table", categories=("place",)),
            },
            targets={"label": Spec("text", column="said", tokenizer="characters", max_length=6)},
            batch_size=8,
            threads=1,
        ),
        model=ModelConfig(
            encoders={
                "audio": Spec("stream_rnn", width=8),
                "table": Spec("table", width=8, depth=1, heads=2, mlp_dim=8),
            },
            fusion=Spec("concat", width=8),
        ),
        task=Spec("speech_recognition_ctc", beams=2),
        optimizer=OptimizerConfig(learning_rate=1e-2),
        train=TrainConfig(
            duration="2 steps",
            evaluate_every="2 steps",
            save_every="2 steps",
            best_metric="wer",
        ),
    )
    with tiny_run.one_device():
        run = mmjax.train(config, tmp_path / "run", frame=columns)
        found = run.evaluate(columns)
        alone = run.predict_one(frames=columns["frames"][0])
    assert {"wer", "cer", "exact_match", "impossible", "loss"} <= set(found)
    # A row without a sound has no frames, and so no text that is possible.
    assert found["impossible"] > 0
    assert set(alone) == {"text", "score"}
    assert (tmp_path / "run" / "report.html").is_file()

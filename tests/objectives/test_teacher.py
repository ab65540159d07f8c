"""Distillation from vectors that a teacher gave beforehand."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from cases.distillation import distillation
from scene import ROWS, Scene, make_batch, make_context, make_encoded

from mmjax import objectives
from mmjax.core.errors import ConfigError

OPTIONS = {"temperature": 0.5, "teacher_temperature": 0.2, "softening": 1.5}
VECTORS = {"text": "text_teacher", "image": "image_teacher"}
UNKNOWN = 4
"""The row of whose picture the teacher knows nothing."""


def _scene(**options):
    objective = objectives.build("distillation", vectors=VECTORS, **OPTIONS, **options)
    rng = np.random.default_rng(5)
    given = {target: rng.standard_normal((ROWS, 3)) for target in VECTORS.values()}
    given["image_teacher"][UNKNOWN] = 0
    batch = make_batch()
    targets = {name: vectors.astype(np.float32) for name, vectors in given.items()}
    return objective, batch.replace(targets=targets), given


def _loss(objective, batch, encoded):
    return objective.apply({}, make_context(batch, encoded), train=True).loss


@pytest.mark.parametrize("chunk", [None, 4])
def test_the_loss_is_that_of_the_given_similarities(chunk):
    objective, batch, given = _scene(chunk=chunk)
    assert objective.requests() == {}
    encoded = make_encoded(objective, batch, {})
    scene = Scene({}, batch, encoded, {})
    rows = np.array([row for row in scene.rows("text", "image") if row != UNKNOWN])
    text, image = (scene.embed(name, rows).astype(np.float64) for name in ("text", "image"))
    known = {name: given[target][rows] for name, target in VECTORS.items()}
    known = {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in known.items()}
    ours, theirs = text @ image.T / 0.5, known["text"] @ known["image"].T / 0.2
    expected = (distillation(ours, theirs, 1.5) + distillation(ours.T, theirs.T, 1.5)) / 2
    assert float(_loss(objective, batch, encoded)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_teacher_has_no_loss():
    objective, batch, _ = _scene()
    encoded = make_encoded(objective, batch, {})
    loss, grads = jax.value_and_grad(
        lambda e: _loss(objective, batch.replace(targets={}), e), allow_int=True
    )({name: one.replace(labels={}) for name, one in encoded.items()})
    assert float(loss) == 0.0
    assert not np.any(np.asarray(grads["text"].tokens.pooled))


def test_a_modality_without_vectors_is_refused():
    objective, batch, _ = _scene()
    half = objective.clone(vectors={"text": "text_teacher"})
    with pytest.raises(ConfigError, match="no vectors of 'image'"):
        _loss(half, batch, make_encoded(objective, batch, {}))

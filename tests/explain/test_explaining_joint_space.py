"""Runs of objectives: how alike the modalities of a row are is explained as a class is."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import reference
import twin

from mmjax.encoders.bag_of_subwords import BagOfSubwords
from mmjax.explain.gradients import Gradients
from mmjax.explain.hires_cam import HiResCam
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.shapley import Shapley
from mmjax.explain.subject import Subject
from mmjax.models.pretraining import JointProjections, Pretraining
from mmjax.objectives.contrastive import Contrastive
from mmjax.parallel.sharding import unbox


@pytest.mark.slow
def test_the_cosine_of_a_rows_modalities_is_explained(mesh):
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (3, 4)).astype(np.int32)
    pixels = rng.normal(size=(3, 6, 6, 3)).astype(np.float32)
    batch = twin.batch(ids, np.ones((3, 4), bool), pixels)
    module = Pretraining(
        encoders={
            "text": BagOfSubwords(vocab_size=9, width=8),
            "image": twin.TwoConvolutions(),
        },
        objectives={"clip": Contrastive()},
        joint=JointProjections(width=4),
    )
    shapes = unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), batch, train=False)))
    params = reference.random_like(shapes["params"], scale=0.5)
    kinds = {"text": "text", "image": "image"}
    subject = Subject(module, {"params": params}, mesh, kinds, {})
    choice, _ = subject.chosen(batch)
    vectors = module.apply({"params": params}, batch, method=Pretraining.embed)
    cosines = (np.asarray(vectors["text"]) * np.asarray(vectors["image"])).sum(axis=1)
    np.testing.assert_allclose(subject.scored(batch, choice), cosines, atol=1e-5)
    found = Shapley()(subject, batch, choice)
    # One modality alone is like nothing: both share what they have together.
    for name in kinds:
        np.testing.assert_allclose(found.modalities[name], cosines / 2, atol=1e-5)
    for method in (Gradients(), Occlusion(cells=2)):
        parts = method(subject, batch, choice).parts
        assert all(np.abs(parts[name]).sum() > 0 for name in kinds)
    assert HiResCam()(subject, batch, choice).parts["image"].shape == (3, 6, 6)

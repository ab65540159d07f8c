"""Attention across modalities: what a scanned stack gives is what an unrolled one does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import twin

from mmjax.encoders.text_transformer import TextTransformer
from mmjax.encoders.vit import ViT
from mmjax.explain.attention import AttentionMaps
from mmjax.explain.attention_gradients import AttentionGradients
from mmjax.explain.rollout import Rollout
from mmjax.explain.subject import Subject
from mmjax.fusion.cross_attention import CrossAttention
from mmjax.models.multimodal import Multimodal
from mmjax.parallel.sharding import unbox
from mmjax.tasks.classification import Classification

ROWS, WORDS, SIDE, DEPTH = 2, 5, 8, 2
SMALL = {"width": 8, "depth": DEPTH, "heads": 2, "mlp_dim": 8}


def model(*, scan: bool) -> Multimodal:
    return Multimodal(
        encoders={
            "text": TextTransformer(
                vocab_size=9, max_length=WORDS, dropout=0.0, attention_dropout=0.0, **SMALL
            ),
            "image": ViT(image_size=SIDE, patch=4, scan=scan, **SMALL),
        },
        task=Classification(num_labels=3),
        fusion=CrossAttention(width=8, heads=2, mlp_dim=8, depth=1),
    )


def stacked(params):
    """The parameters of the unrolled picture encoder as a scan wants them."""
    image = dict(params["encoders_image"])
    layers = image["transformer"]["stack"]
    rows = [layers[f"layer_{index}"] for index in range(DEPTH)]
    whole = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    image["transformer"] = {**image["transformer"], "stack": {"layers": whole}}
    return {**params, "encoders_image": image}


@pytest.mark.slow
def test_scanned_layers_are_explained_as_unrolled_ones(mesh):
    rng = np.random.default_rng(0)
    mask = np.ones((ROWS, WORDS), bool)
    mask[1, 3:] = False
    ids = rng.integers(3, 9, (ROWS, WORDS)).astype(np.int32)
    pixels = rng.normal(size=(ROWS, SIDE, SIDE, 3)).astype(np.float32)
    batch = twin.batch(ids, mask, pixels)
    unrolled = model(scan=False)
    shapes = unbox(jax.eval_shape(lambda: unrolled.init(jax.random.key(0), batch, train=False)))
    params = reference.random_like(shapes["params"], scale=0.5)
    kinds = {"text": "text", "image": "image"}
    found = []
    for scan, own in ((False, params), (True, stacked(params))):
        subject = Subject(model(scan=scan), {"params": own}, mesh, kinds, {})
        choice, _ = subject.chosen(batch)
        found.append(
            [m(subject, batch, choice) for m in (AttentionMaps(), Rollout(), AttentionGradients())]
        )
    for plain, scanned in zip(*found, strict=True):
        assert set(plain.parts) == {"text", "image"}
        for name, values in plain.parts.items():
            np.testing.assert_allclose(values, scanned.parts[name], atol=1e-5)
            assert np.ptp(values[0]) > 0
        assert not plain.parts["text"][~mask].any()
    maps = found[0][0].pairs
    assert set(maps) == {"text<-image", "image<-text"}
    # Each valid word's attention to the patches is a share of 1.
    np.testing.assert_allclose(maps["text<-image"].sum(axis=2)[mask], 1, rtol=1e-5)
    rolled = found[0][1].parts
    assert float(jnp.asarray(rolled["text"]).sum()) > 0

"""Inputs of every kind: each place has a number, what is padding has none, and it can be drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import reference

from mmjax.core.types import Batch
from mmjax.encoders.audio_cnn import AudioCNN
from mmjax.encoders.conv1d import Conv1D
from mmjax.encoders.point_set import PointSet
from mmjax.encoders.recurrent import StreamRNN
from mmjax.encoders.spectrogram_transformer import SpectrogramTransformer
from mmjax.encoders.swin import Swin
from mmjax.encoders.table import TableEncoder
from mmjax.encoders.text_transformer import TextTransformer
from mmjax.encoders.time_series import TimeSeries
from mmjax.encoders.timesformer import TimeSformer
from mmjax.encoders.video_transformer import VideoTransformer
from mmjax.encoders.vit import ViT
from mmjax.encoders.volume_cnn import VolumeCNN
from mmjax.encoders.volume_transformer import VolumeTransformer
from mmjax.explain import methods as registry
from mmjax.explain import picturing
from mmjax.explain.explanation import Explanation
from mmjax.explain.integrated_gradients import IntegratedGradients
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.smooth_grad import SmoothGrad
from mmjax.explain.subject import Subject
from mmjax.fusion.concat import Concat
from mmjax.models.multimodal import Multimodal
from mmjax.parallel.sharding import unbox
from mmjax.tasks.classification import Classification

ROWS = 2
RNG = np.random.default_rng(0)
SMALL = {"width": 8, "depth": 1, "heads": 2, "mlp_dim": 8}
MASK = np.array([[True] * 8, [True] * 5 + [False] * 3])
WHERE = ("gradients", "integrated_gradients", "smooth_grad", "occlusion")


def normal(*shape):
    return RNG.normal(size=(ROWS, *shape)).astype(np.float32)


def ids(*shape):
    return RNG.integers(1, 9, (ROWS, *shape)).astype(np.int32)


CLIP = {"pixel_values": normal(4, 8, 8, 3), "frame_mask": MASK[:, [0, 1, 2, 5]]}
FRAMES = {"input_features": normal(8, 6), "attention_mask": MASK}
STILL = {"dropout": 0.0, "attention_dropout": 0.0}
# By name: the kind, its encoder, its fields, its places, and the further methods that fit it.
CASES = {
    "text": (
        "text",
        TextTransformer(vocab_size=9, max_length=8, **SMALL, **STILL),
        {"input_ids": ids(8), "attention_mask": MASK},
        (8,),
        ("attention", "rollout", "attention_gradients"),
    ),
    "views": (
        "image",
        ViT(image_size=8, patch=4, **SMALL),
        {"pixel_values": normal(2, 8, 8, 3)},
        (2, 8, 8),
        ("attention", "rollout", "attention_gradients"),
    ),
    "windows": (
        "image",
        Swin(patch=2, width=8, depths=(2,), heads=(2,), window=2),
        {"pixel_values": normal(8, 8, 3)},
        (8, 8),
        (),
    ),
    "video": (
        "video",
        VideoTransformer(frames=4, image_size=8, **SMALL),
        CLIP,
        (4, 8, 8),
        ("attention", "rollout", "attention_gradients"),
    ),
    "divided": ("video", TimeSformer(frames=4, image_size=8, **SMALL), CLIP, (4, 8, 8), ()),
    "volume": (
        "volume",
        VolumeTransformer(volume_size=(4, 8, 8), patch=4, **SMALL),
        {"voxel_values": normal(4, 8, 8, 1)},
        (4, 8, 8),
        ("attention", "rollout", "attention_gradients"),
    ),
    "scan": (
        "volume",
        VolumeCNN(channels=(8,), blocks=(1,), groups=4, width=8),
        {"voxel_values": normal(8, 8, 8, 1)},
        (8, 8, 8),
        ("grad_cam", "hires_cam"),
    ),
    "points": (
        "points",
        PointSet(channels=(8,), width=8),
        {"points": normal(8, 3), "attention_mask": MASK},
        (8,),
        (),
    ),
    "mel": (
        "audio",
        AudioCNN(channels=(8,), width=8),
        FRAMES,
        (8, 6),
        ("grad_cam", "hires_cam"),
    ),
    "patches": (
        "audio",
        SpectrogramTransformer(
            max_frames=8, mel_bins=6, patch=2, frequency_stride=2, time_stride=2, **SMALL
        ),
        FRAMES,
        (8, 6),
        ("attention", "rollout", "attention_gradients"),
    ),
    "wave": (
        "audio",
        Conv1D(channels=(8,), fold=1),
        {"input_values": normal(8), "attention_mask": MASK},
        (8,),
        ("grad_cam", "hires_cam"),
    ),
    "sequence": ("sequence", StreamRNN(width=8), FRAMES, (8, 6), ()),
    "irregular": (
        "sequence",
        TimeSeries(channel_count=2, **SMALL),
        {
            "times": np.cumsum(np.abs(normal(8)), axis=1),
            "values": normal(8),
            "channels": ids(8) % 2,
            "attention_mask": MASK,
        },
        (8,),
        ("attention", "rollout", "attention_gradients"),
    ),
    "table": (
        "table",
        TableEncoder(numbers=2, cardinalities=(9,), width=8, heads=2, mlp_dim=8, dropout=0.0),
        {"numbers": normal(2), "number_mask": np.ones((ROWS, 2), bool), "categories": ids(1)},
        (3,),
        ("attention", "rollout", "attention_gradients"),
    ),
}


@pytest.fixture(scope="module")
def made(mesh):
    def subject(name):
        kind, encoder, fields, shape, more = CASES[name]
        module = Multimodal(
            encoders={name: encoder}, task=Classification(num_labels=3), fusion=Concat(width=8)
        )
        whole = np.ones(ROWS, bool)
        batch = Batch({name: fields}, {name: whole}, {}, whole, np.arange(ROWS))
        shapes = unbox(jax.eval_shape(lambda: module.init(jax.random.key(0), batch, train=False)))
        params = reference.random_like(shapes["params"], scale=0.5)
        variables = {**jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)}
        found = Subject(module, {**variables, "params": params}, mesh, {name: kind}, {})
        return found, batch, shape, more

    return subject


def method_of(name):
    small = {
        "integrated_gradients": IntegratedGradients(steps=16),
        "smooth_grad": SmoothGrad(samples=2),
        "occlusion": Occlusion(cells=2),
    }
    return small.get(name) or registry.build(name)


QUICK = ("points",)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_each_place_of_each_kind_has_a_number(name, made, tmp_path):
    subject, batch, shape, more = made(name)
    choice, _ = subject.chosen(batch)
    fits = [n for n in registry if method_of(n).refuses(subject, batch) is None]
    asked = ("gradients", "occlusion") if name in QUICK else (*WHERE, *more)
    assert set(more) == set(fits) & {
        *("attention", "rollout", "attention_gradients", "grad_cam", "hires_cam")
    }
    padded = np.zeros((ROWS, *shape), bool)
    for field in ("attention_mask", "frame_mask"):
        if field in batch.inputs[name]:
            mask = np.asarray(batch.inputs[name][field])
            padded |= ~mask.reshape(*mask.shape, *[1] * (padded.ndim - mask.ndim))
    for one in asked:
        found = method_of(one)(subject, batch, choice)
        values = np.asarray(found.parts[name])
        assert values.shape == (ROWS, *shape), one
        assert np.isfinite(values).all(), one
        assert not values[padded].any(), one
        if one in WHERE:
            assert np.abs(values).sum() > 0, one
        if one == "integrated_gradients":
            for row, fact in enumerate(found.facts):
                assert values[row].sum() == pytest.approx(fact["gained"], abs=2e-2), one
        part = picturing.parts_of(subject, batch, found, 0, {}, {}, signed=True)
        told = Explanation(0, "0", one, "logit", 0.0, parts=part)
        with PIL.Image.open(told.draw(tmp_path / f"{name}-{one}.png")) as picture:
            assert picture.width == 800

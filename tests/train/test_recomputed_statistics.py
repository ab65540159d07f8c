"""Batch statistics of averaged weights, against the means and variances of batches in float64."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_run
from flax import linen as nn

import mmjax
from mmjax.checkpoint.load import load_arrays
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.nn.norms import batch_norm
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import replicated, unbox
from mmjax.train.batch_statistics import Statistics

ROWS, WIDTH = 8, 3


class Two(nn.Module):
    """Two normalisations that forget at different rates, a layer between them, and a count."""

    @nn.compact
    def __call__(self, batch, *, train):
        values = batch.inputs["x"]["values"]
        values = batch_norm(name="first")(values, use_running_average=not train)
        values = nn.Dense(WIDTH, name="dense")(nn.relu(values))
        seen = self.variable("batch_stats", "seen", lambda: np.float32(7))
        if train:
            seen.value = seen.value + 1
        values = batch_norm(name="second", momentum=0.5)(values, use_running_average=not train)
        return values


def batches(count=5):
    rng = np.random.default_rng(0)
    here, rows = np.ones(ROWS, bool), np.arange(ROWS, dtype=np.int32)
    for i in range(count):
        values = rng.normal(i, 1 + i, (ROWS, WIDTH)).astype(np.float32)
        yield Batch({"x": {"values": values}}, {"x": here}, {}, here, rows)


def test_they_are_the_means_over_batches_whatever_they_were():
    module, mesh = Two(), make_mesh(MeshConfig(), jax.local_devices()[:1])
    start = unbox(module.init(jax.random.key(0), next(batches()), train=False))
    start["batch_stats"]["first"]["mean"] += 1e3
    shardings = jax.tree.map(lambda _: replicated(mesh), start)
    placed = jax.device_put(start, shardings)
    made = Statistics(module, mesh, shardings, seed=0)
    found = jax.device_get(made(placed, batches()))
    dense = {name: np.float64(one) for name, one in start["params"]["dense"].items()}
    wanted = {"first": [], "second": []}
    for batch in batches():
        values = np.float64(batch.inputs["x"]["values"])
        mean, var = values.mean(axis=0), values.var(axis=0)
        wanted["first"].append((mean, var))
        hidden = np.maximum((values - mean) / np.sqrt(var + 1e-5), 0)
        hidden = hidden @ dense["kernel"] + dense["bias"]
        wanted["second"].append((hidden.mean(axis=0), hidden.var(axis=0)))
    for name, parts in wanted.items():
        mean, var = np.mean(parts, axis=0)
        np.testing.assert_allclose(found[name]["mean"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[name]["var"], var, rtol=1e-5)
    assert found["seen"] == 7
    # Variables as they were, and no batch: nothing changes.
    np.testing.assert_array_equal(placed["batch_stats"]["first"]["mean"], 1e3)
    assert made(placed, ()) is placed["batch_stats"]


@pytest.mark.slow
def test_averaged_runs_and_soups_have_those_of_their_weights(tmp_path, monkeypatch):
    """About a minute: runs with a small residual network, with averaged weights and as soup."""
    with tiny_run.one_device():
        data = tiny_run.write_data(tmp_path)
        changes = ("train.ema_decay=0", "data.modalities.image.augment={}", "train.keep_last=3")
        config = tiny_run.plain(data, "image", *changes)
        resnet = Spec("resnet", stem=4, channels=(8,), depths=(1,), kind="basic")
        model = dataclasses.replace(config.model, encoders={"image": resnet})
        config = dataclasses.replace(config, model=model)
        swa = config_lib.override(config, ["train.average_from=2 steps"])
        run = mmjax.train(swa, tmp_path / "swa")
        stored = load_arrays(run.folder.path, prefixes=("params", "ema", "collections"))
        assert "ema" in stored
        for name in ("a", "b"):
            seed = config_lib.override(config, [f"optimizer.learning_rate={len(name)}e-2"])
            mmjax.train(dataclasses.replace(seed, seed=ord(name)), tmp_path / name)
        soup = mmjax.soup([tmp_path / "a", tmp_path / "b"], tmp_path / "soup")
        mixed = load_arrays(soup.folder.path, prefixes=("params", "collections"))
        for made, params, collections in (
            (run, stored["ema"], stored["collections"]),
            (soup, mixed["params"], mixed["collections"]),
        ):
            _hold(made, params, collections)


def _hold(run, params, collections):
    """The first convolution's statistics are the means over an epoch of its batches."""
    dataset = run.dataset(labels=True)
    kernel = np.float64(params["encoders_image"]["stem"]["conv"]["kernel"])
    loader = dataset.loader("train", train=True, seed=run.config.seed)
    parts = []
    for _ in range(dataset.steps_per_epoch("train")):
        pixels = np.float64(next(loader).inputs["image"]["pixel_values"])
        found = jax.lax.conv_general_dilated(
            np.float32(pixels),
            np.float32(kernel),
            (2, 2),
            "SAME" if kernel.shape[0] % 2 == 0 else [(kernel.shape[0] // 2,) * 2] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        found = np.float64(found)
        parts.append((found.mean(axis=(0, 1, 2)), found.var(axis=(0, 1, 2))))
    loader.close()
    mean, var = np.mean(parts, axis=0)
    own = collections["batch_stats"]["encoders_image"]["stem"]["norm"]
    np.testing.assert_allclose(own["mean"], mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(own["var"], var, rtol=1e-3)

"""Every config's step on every kind of mesh is that of one device: encoders, fusions, objectives.

All of it is slow (`-m slow`); what runs by default is `test_sharded_training.py` and
`test_sharded_assemblies.py`. Configs are narrowed and read few rows, as in
`tests/house/test_configs.py`; the update is plain, so that parameters after a step tell every
gradient, dropout and augmentation included. A config whose encoders, fusion and task or objectives
all stand in others as well is left out. On many cores:

    JAXTYPING_DISABLE=1 pytest -m slow -n 12 --dist loadgroup tests/parallel/test_every_mesh.py
"""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import reference

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.data.pipeline import prepare
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.parallel.sharding import put_batch
from mmjax.train.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "house"))
from config_data import MAKERS
from config_pairs import PAIRS
from package_files import ROOT

pytestmark = pytest.mark.slow

REPEATED = {
    "audio_tagging",
    "av_mnist",
    "emoji_captioning",
    "pretrain_emoji",
    "pretrain_emoji_minilm",
    "quickstart_frozen",
    "quickstart_minilm",
    "scenario_customer_service",
    "scenario_recommendation",
    "smartwatch",
    "video_text",
    "video_text_long",
}
"""Configs of which every part stands in another one."""
NAMES = sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - REPEATED)
MESHES = {
    "2 data": (2, 1, 1),
    "2 fsdp": (1, 2, 1),
    "2 tensor": (1, 1, 2),
    "4 data": (4, 1, 1),
    "4 fsdp": (1, 4, 1),
    "4 tensor": (1, 1, 4),
    "4 mixed": (2, 2, 1),
    "8 data": (8, 1, 1),
    "8 fsdp": (1, 8, 1),
    "8 tensor": (1, 1, 8),
    "8 mixed": (2, 2, 2),
}
SHRUNKEN = [
    "data.batch_size=16",
    "data.eval_batch_size=16",
    "data.threads=1",
    "train.duration=2 steps",
    "optimizer.name=sgd",
    "optimizer.learning_rate=0.1",
    "optimizer.warmup=0 steps",
    "optimizer.max_grad_norm=none",
    "model.dtype=float32",
]


def parts(name):
    """The names of what a config is built of."""
    config = config_lib.load(ROOT / "configs" / f"{name}.py")
    encoders = {f"encoder {spec.name}" for spec in config.model.encoders.values()}
    objectives = {f"objective {spec.name}" for spec in config.objectives.values()}
    adapted = {f"adapt {spec.name}" for spec in config.adapt.values()}
    learnt = objectives or {f"task {config.task.name}"}
    return {*encoders, f"fusion {config.model.fusion.name}", *learnt, *adapted}


def test_what_is_left_out_stands_in_others():
    assert set().union(*map(parts, REPEATED)) <= set().union(*map(parts, NAMES))


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES],
)
def alone(request, tmp_path_factory):
    """A config, its data, a batch, the parameters it starts from, and one step on one device."""
    name = request.param
    make = {**MAKERS, **PAIRS}.get(name, lambda _: [])
    config = config_lib.load(ROOT / "configs" / f"{name}.py")
    try:
        config = config_lib.override(config, [*make(tmp_path_factory.mktemp(name)), *SHRUNKEN])
        dataset = prepare(config.data)
    except ConfigError as error:
        pytest.skip(f"{name}: {error}")
    with dataset.loader("train", train=True, seed=0, start=0) as loader:
        batch = next(iter(loader))
    return config, dataset, batch, stepped(config, dataset, batch, (1, 1, 1))


def stepped(config, dataset, batch, sizes):
    """Loss and parameters after one step, from the same start on every mesh."""
    count = int(np.prod(sizes))
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:count])
    trainer = Trainer.build(config, dataset, mesh=mesh)
    plan = trainer.plan
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), plan.abstract)
    params = reference.random_like(plan.abstract.params, scale=0.2)
    averages = jax.tree.map(np.copy, params) if plan.abstract.ema else {}
    collections = reference.random_like(plan.abstract.collections, scale=0.2)
    start = zeros.replace(params=params, ema=averages, collections=collections)
    state, values = trainer.step(jax.device_put(start, plan.shardings), put_batch(batch, mesh))
    return jax.device_get((values["loss"], state.params))


@pytest.mark.parametrize("mesh", MESHES)
def test_a_step_is_that_of_one_device(alone, mesh):
    config, dataset, batch, (loss, params) = alone
    found, moved = stepped(config, dataset, batch, MESHES[mesh])
    assert np.isfinite(loss)
    np.testing.assert_allclose(found, loss, rtol=2e-5)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(moved), strict=True
    ):
        atol = 5e-5 * np.abs(a).max() + 1e-6
        np.testing.assert_allclose(b, a, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))

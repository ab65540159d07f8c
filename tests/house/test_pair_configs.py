"""Configs of pictures and texts: their real sizes by shape alone, and one step on tiny pairs."""

import jax
import numpy as np
import optax
import pytest
import reference
from config_pairs import PAIRS
from package_files import ROOT

from mmjax.core import config as config_lib
from mmjax.core.types import Batch
from mmjax.data.pipeline import prepare
from mmjax.models.build import build_model
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

WORDS = {"clip_vit_b16": 49408, "siglip_base": 32000, "coca_base": 49408, "albef_like": 30522}
"""Ids of each config's tokenizer, which is not at hand without a network."""
PARAMETERS = {
    # The published numbers: OpenAI's ViT-B/16, and google/siglip-base-patch16-224 with the two
    # projections to the joint space that it does not have.
    "clip_vit_b16": 149_620_737,
    "siglip_base": 203_155_970 + 2 * 768 * 768,
    # As counted: 90.9 M see, 123.1 M read, 151.4 M write; 85.8 M, 66.6 M and 46.1 M that fuse.
    "coca_base": 366_140_929,
    "albef_like": 199_518_525,
}

SLOW = pytest.mark.slow
each_config = pytest.mark.parametrize("name", sorted(PAIRS))


def load(name):
    return config_lib.check(config_lib.load(ROOT / "configs" / f"{name}.py"))


@each_config
def test_real_sizes(name):
    config = load(name)
    text, image = (config.data.modalities[key].options for key in ("text", "image"))
    length, side = text["max_length"], image["size"]
    bert = {"mask_id": 103, "special_ids": (0, 100, 101, 102, 103)}
    facts = {
        "text": {"vocab_size": WORDS[name], "max_length": length, "pad_id": 0, **bert},
        "image": {"image_size": side, "channels": 3},
    }
    module = build_model(config.model, config.task, {"modalities": facts}, config.objectives)
    here = np.ones(2, bool)
    batch = Batch(
        inputs={
            "text": {
                "input_ids": np.ones((2, length), np.int32),
                "attention_mask": np.ones((2, length), bool),
            },
            "image": {"pixel_values": np.zeros((2, side, side, 3), np.float32)},
        },
        present={"text": here, "image": here},
        targets={},
        row_mask=here,
        row=np.arange(2, dtype=np.int32),
    )
    found = reference.shapes(module, batch, train=False)
    assert reference.count(found["params"]) == PARAMETERS[name]


def quick(name):
    """One that reads a shard; the others take as long to compile again."""
    return name if name == "clip_vit_b16" else pytest.param(name, marks=[SLOW])


@pytest.mark.parametrize("name", [quick(name) for name in PAIRS])
def test_one_step_on_tiny_pairs(name, tmp_path):
    """Through tokenizer, decoding and loader, on one device; every parameter gets a gradient."""
    small = [*PAIRS[name](tmp_path), "data.batch_size=8"]
    config = config_lib.override(load(name), small)
    dataset = prepare(config.data)
    loader = dataset.loader("train", train=True, seed=0, start=0)
    batch = next(iter(loader))
    module = build_model(config.model, config.task, dataset.facts, config.objectives)
    # By the sign of the gradient: what is not moved got none.
    optimizer, schedule = optax.sign_sgd(0.1), optax.constant_schedule(0.1)
    mesh = make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    ema = bool(config.train.ema_decay)
    plan = plan_state(module, optimizer, batch, mesh, seed=0, ema=ema)
    step = make_step(
        module, optimizer, schedule, mesh, plan.shardings, ema_decay=config.train.ema_decay
    )
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), plan.abstract)
    params = reference.random_like(plan.abstract.params)
    averages = jax.tree.map(np.copy, params) if ema else {}
    start = jax.device_put(state.replace(params=params, ema=averages), plan.shardings)
    after, values = jax.device_get(step(start, batch))
    assert np.isfinite(values["loss"])
    assert int(after.skipped) == 0
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after.params, params)
    still = [jax.tree_util.keystr(p) for p, far in jax.tree.leaves_with_path(moved) if far == 0.0]
    assert not [path for path in still if "'key'" not in path]

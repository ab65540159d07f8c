"""Encoders that give what they are given, and a batch of two modalities, some absent."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.registry import Spec
from mmjax.core.types import Batch, Tokens
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.nn.pooling import masked_mean

NAMES = ("text", "image")
ROWS = 8
PRESENT = {
    "text": np.array([1, 0, 1, 1, 0, 1, 0, 1], bool),
    "image": np.array([1, 1, 0, 1, 0, 0, 1, 1], bool),
}
ROW_MASK = np.array([1, 1, 1, 1, 1, 1, 1, 0], bool)
LABELS = np.array([0, 2, 1, 1, 0, 2, 2, 0], np.int32)
FUSION = Spec("mean_pool", width=8)


class Given(nn.Module):
    """Tokens are the input, some of them valid; with `rate`, dropout on their mean."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, values, mask, *, train):
        values, mask = jnp.asarray(values), jnp.asarray(mask)
        pooled = masked_mean(values, mask)
        return Tokens(values, mask, nn.Dropout(self.rate, deterministic=not train)(pooled))


def make_batch(present=PRESENT, row_mask=ROW_MASK, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {}
    for name in NAMES:
        values = rng.standard_normal((ROWS, 3, 4)).astype(np.float32)
        mask = np.arange(3) < rng.integers(1, 4, ROWS)[:, None]
        inputs[name] = {"values": values, "mask": mask}
    return Batch(inputs, dict(present), {"label": LABELS}, row_mask, np.arange(ROWS))


def make_module(task=None, rate=0.0, task_facts=None, **options):
    """A model built as those of configs are, its encoders replaced by `Given`."""
    options.setdefault("fusion", FUSION)
    options.setdefault("encoders", {name: Spec("bag_of_subwords", width=4) for name in NAMES})
    facts = {
        "modalities": {name: {"vocab_size": 3} for name in options["encoders"]},
        "targets": {"label": task_facts or {"num_labels": 3}},
    }
    module = build_model(ModelConfig(**options), task or Spec("classification"), facts)
    given = {name: Given(rate=rate) for name in options["encoders"]}
    return module.clone(encoders=given)


def other_labels(batch, labels):
    return dataclasses.replace(batch, targets={"label": labels})

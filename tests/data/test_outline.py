"""Shapes that a config alone says."""

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig
from mmjax.data.outline import NeedsRows, outline
from mmjax.data.tokenization import HuggingFace
from mmjax.train.example import example_batch, example_shapes

TEXT = Spec("text", column="text", tokenizer="openai/clip-vit-base-patch16", max_length=7)
IMAGE = Spec("image", columns=("image",), size=12)


def config(**modalities):
    return DataConfig(
        source=Spec("webdataset", paths=("nowhere/*.tar",)), modalities=modalities, batch_size=4
    )


def test_pictures_and_texts_need_no_rows():
    found = outline(config(text=TEXT, image=IMAGE))
    facts = found.dataset.facts["modalities"]
    assert facts["text"]["vocab_size"] == 49408
    assert facts["image"]["image_size"] == 12
    assert any("49,408 ids" in one for one in found.assumed)
    batch = example_shapes(found.dataset, 4)
    assert batch.inputs["text"]["input_ids"].shape == (4, 7)
    assert batch.inputs["image"]["pixel_values"].shape == (4, 12, 12, 3)
    assert found.dataset.epoch_examples("train") == 1_000_000


def test_shapes_are_those_of_a_batch():
    dataset = outline(config(text=TEXT, image=IMAGE)).dataset
    whole, shapes = example_batch(dataset, 3), example_shapes(dataset, 3)
    for modality, fields in whole.inputs.items():
        for name, array in fields.items():
            shape = shapes.inputs[modality][name]
            assert (shape.shape, shape.dtype) == (array.shape, array.dtype)
    assert not np.any(whole.row_mask)


def test_a_tokenizer_that_is_learnt_may_be_as_large_as_it_may_become():
    learnt = Spec("text", column="text", tokenizer="bpe", vocab_size=321, max_length=7)
    assert outline(config(text=learnt)).dataset.facts["modalities"]["text"]["vocab_size"] == 321
    assert (
        outline(config(text=learnt), vocabulary=77).dataset.facts["modalities"]["text"][
            "vocab_size"
        ]
        == 77
    )


@pytest.mark.parametrize(
    "data",
    [
        DataConfig(modalities={"image": IMAGE}, targets={"label": Spec("category", column="a")}),
        config(text=Spec("text", column="text", tokenizer="subwords")),
        config(volume=Spec("volume", column="scan")),
    ],
    ids=["labels", "bags of words", "channels"],
)
def test_what_rows_alone_tell_is_refused(data):
    with pytest.raises(NeedsRows):
        outline(data)


def test_an_unknown_tokenizer_is_asked_for_its_size(monkeypatch):
    def load(name, max_length):
        raise ConfigError(110, f"no tokenizer '{name}'")

    monkeypatch.setattr(HuggingFace, "load", load)
    odd = config(text=Spec("text", column="text", tokenizer="some/one", max_length=5))
    with pytest.raises(ConfigError, match=r"'some/one'.*--vocabulary 50000"):
        outline(odd)
    facts = outline(odd, vocabulary=9).dataset.facts["modalities"]
    assert facts["text"]["vocab_size"] == 9

"""What of a modality's fields reaches its encoder."""

import inspect

import numpy as np
import pytest
from flax import linen as nn

from mmjax import encoders
from mmjax.core.errors import ConfigError
from mmjax.encoders.fields import select, taken

IDS = np.zeros((2, 3), np.int32)
TEXT = {"input_ids": IDS, "attention_mask": IDS > 0, "token_type_ids": IDS}
VIDEO = {"pixel_values": np.zeros((2, 3, 8, 8, 3)), "frame_mask": np.ones((2, 3), bool)}
BANDS = {"input_features": np.zeros((2, 9, 4)), "attention_mask": np.ones((2, 9), bool)}


class Anything(nn.Module):
    def __call__(self, *, train, **fields):
        return fields


@pytest.mark.parametrize(
    ("encoder", "fields", "left_out"),
    [
        ("text_transformer", TEXT, set()),
        ("t5_encoder", TEXT, {"token_type_ids"}),
        ("bag_of_subwords", TEXT, {"token_type_ids"}),
        ("audio_cnn", BANDS, set()),
        ("frames", VIDEO, set()),
    ],
)
def test_segments_are_for_encoders_that_take_them(encoder, fields, left_out):
    found = select(encoders.build(encoder), fields, "mine")
    assert set(fields) - set(found) == left_out
    assert all(found[name] is fields[name] for name in found)


def test_an_encoder_that_takes_whatever_comes_gets_it():
    assert select(Anything(), {**TEXT, **VIDEO}, "mine") == {**TEXT, **VIDEO}


@pytest.mark.parametrize(
    ("encoder", "fields", "said"),
    [
        ("image_cnn", VIDEO, r"'clip' makes 'frame_mask'.* ImageCNN does not take.*such as frames"),
        ("audio_cnn", {"input_values": IDS}, r"'clip' makes 'input_values'.*mean 'input_features'"),
        ("bag_of_subwords", {"input_ids": IDS}, r"BagOfSubwords of 'clip' needs 'attention_mask'"),
        ("frames", {}, r"Frames of 'clip' needs 'pixel_values'"),
    ],
)
def test_errors_name_field_modality_and_encoder(encoder, fields, said):
    with pytest.raises(ConfigError, match=f"MMX-109.*{said}") as error:
        select(encoders.build(encoder), fields, "clip")
    assert error.value.where == "model.encoders.clip"


@pytest.mark.parametrize("name", list(encoders.registry))
def test_every_encoder_takes_named_fields(name):
    call = encoders.registry.load(name).__call__
    kinds = {one.kind for one in inspect.signature(call).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert taken(call)

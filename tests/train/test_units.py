import pytest

from mmjax.core.errors import ConfigError
from mmjax.train.units import to_steps

SIZES = {"name": "train.save_every", "batch_size": 32, "epoch_examples": 1000}


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ("500 steps", 500),
        ("1 step", 1),
        ("2 epochs", 62),
        ("1 epoch", 31),
        ("0.5 epochs", 16),
        ("6400 examples", 200),
        ("1 example", 1),
        ("5%", 20),
        ("12.5 %", 50),
        (" 3 steps ", 3),
        ("0 steps", 0),
        ("0%", 0),
        ("0.01 epochs", 1),
    ],
)
def test_lengths_in_steps(length, steps):
    assert to_steps(length, total_steps=400, **SIZES) == steps


@pytest.mark.parametrize("length", ["10", "ten epochs", "-1 steps", "5 parsecs", "", "1e3 steps"])
def test_what_is_no_length_is_refused_by_the_name_of_its_setting(length):
    with pytest.raises(ConfigError, match=r"train\.save_every.*500 steps.*5%"):
        to_steps(length, total_steps=400, **SIZES)


def test_a_share_needs_a_whole():
    with pytest.raises(ConfigError) as error:
        to_steps("5%", **SIZES)
    assert "%" not in error.value.fix

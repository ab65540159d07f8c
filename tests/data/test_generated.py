"""Generated scenes: the same from a seed, and labels that need every modality."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.config import sources
from mmjax.data.sources.generated import _SCENES


@pytest.mark.parametrize("scene", sorted(_SCENES))
def test_a_row_depends_on_the_seed_and_its_number_alone(scene):
    few, more = (sources.build("generated", scene=scene, rows=n).read() for n in (12, 20))
    other = sources.build("generated", scene=scene, rows=12, seed=1).read()
    assert few.fingerprint != more.fingerprint != other.fingerprint
    assert few.column("split")[:5] == ["train", "train", "train", "validation", "test"]
    for name, cells in few.columns.items():
        for row, cell in enumerate(cells):
            np.testing.assert_array_equal(cell, more.columns[name][row])
    assert any(
        not np.array_equal(a, b)
        for name in few.columns
        for a, b in zip(few.columns[name], other.columns[name], strict=True)
    )


def test_labels_need_both():
    table = sources.build("generated", scene="medical", rows=300).read()
    findings = defaultdict(set)
    for text, label in zip(table.column("history"), table.column("label"), strict=True):
        findings[text].add(label)
    assert all(len(found) > 1 for found in findings.values())
    service = sources.build("generated", scene="customer_service", rows=60).read()
    assert len(set(service.column("label"))) == 6
    sounds = sources.build("generated", scene="sounds", rows=60).read().column("tags")
    assert {len(tags) for tags in sounds} >= {0, 1, 2}
    driving = sources.build("generated", scene="driving", rows=200).read()
    for speed, junction, label in zip(
        *(driving.column(name) for name in ("speed", "junction", "label")), strict=True
    ):
        sign, decision = label.split(", ")
        if sign == "stop" and junction < 50:
            assert decision == "brake"
        if decision == "slow":
            assert (sign, speed > 14) == ("limit", True)


def test_segments_of_clips_are_where_the_spot_moves():
    table = sources.build("generated", scene="clips", rows=30).read()
    for clip, segments in zip(table.column("clip"), table.column("segments"), strict=True):
        moving = np.zeros(16, bool)
        for one in segments:
            moving[round(8 * one["start"]) : round(8 * one["end"])] = True
        np.testing.assert_array_equal((clip == 255).any(axis=(1, 2, 3)), moving)


def test_what_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="scene = 'flying'"):
        sources.build("generated", scene="flying")

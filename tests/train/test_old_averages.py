"""Runs that kept averages of frozen parameters too, as they once did, go on."""

import jax
import numpy as np
import pytest
import tiny_run

from mmjax.checkpoint.load import load_arrays, stored_leaves
from mmjax.train import adapting, trainer

pytestmark = pytest.mark.slow


class Stop(Exception):
    pass


def stop(moment):
    if moment.step == 4:
        raise Stop


def test_a_run_with_averages_of_what_is_frozen_goes_on(tmp_path, monkeypatch):
    tiny_run.plain_figures(monkeypatch)
    tiny_run.numpy_start(monkeypatch)
    frozen = 'optimizer.multipliers={"^/encoders_text/": 0.0}'
    config = tiny_run.config(tiny_run.write_data(tmp_path), frozen, "train.save_every=2 steps")
    trainer.fit(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(adapting, "averaged", lambda config: True)
        with pytest.raises(Stop):
            trainer.fit(config, tmp_path / "old", hooks=[stop])
    kept = [path for path in stored_leaves(tmp_path / "old") if path.startswith("ema/encoders_tex")]
    assert kept
    trainer.fit(config, tmp_path / "old", resume=True)
    whole, old = (load_arrays(tmp_path / name, "latest") for name in ("whole", "old"))
    jax.tree.map(np.testing.assert_array_equal, whole, old)
    now = stored_leaves(tmp_path / "old")
    assert not [path for path in now if path.startswith("ema/encoders_tex")]

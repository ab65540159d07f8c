"""Every method on every task: what it says is of the score that is told, or it says why not."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from mmjax import tasks
from mmjax.api import explaining
from mmjax.explain import methods as registry
from mmjax.explain.explaining import explain_batches, refusals
from mmjax.explain.explanation import Explanation
from mmjax.explain.integrated_gradients import IntegratedGradients
from mmjax.explain.occlusion import Occlusion
from mmjax.explain.permutation import Permutation
from mmjax.explain.smooth_grad import SmoothGrad
from mmjax.explain.swaps import Swaps

sys.path.append(str(Path(__file__).resolve().parents[1] / "export"))

import tiny_models

ROWS = 4
FRAME = tiny_models.frame()
SMALL = {
    "integrated_gradients": IntegratedGradients(steps=8, most_parts=4),
    "occlusion": Occlusion(cells=2),
    "permutation": Permutation(repeats=1),
    "smooth_grad": SmoothGrad(samples=2),
    "swaps": Swaps(donors=1),
}
QUICK = ("recommendation",)


@pytest.fixture(scope="module", autouse=True)
def one_device():
    with tiny_run.one_device():
        yield


def explained(task, folder, names):
    """Explanations by method, and what was refused."""
    run = tiny_models.made(folder / "run", tiny_models.cases(folder)[task])
    whole = run.dataset(FRAME, batch_size=ROWS)
    kept = dataclasses.replace(whole, splits={"all": whole.rows("all")[:ROWS]})
    donors = explaining._donors(run, FRAME, kept)
    subject = explaining.subject_of(run, kept, donors=donors)
    batches = list(run._batches(kept, "all"))
    methods = {name: SMALL.get(name) or registry.build(name) for name in names}
    refused = refusals(subject, batches[0], methods)
    kept_methods = {name: one for name, one in methods.items() if name not in refused}
    cells = functools.partial(explaining._cells, run, kept)
    results = explain_batches(subject, batches, kept_methods, cells, check=False)
    by_method: dict[str, list[Explanation]] = {}
    for one in results.found:
        by_method.setdefault(one.method, []).append(one)
    return by_method, refused, results


@pytest.mark.parametrize(
    "task",
    [one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in tasks.registry],
)
def test_every_method_explains_or_says_what_does(task, tmp_path):
    names = ("gradients", "occlusion") if task in QUICK else tuple(registry)
    found, refused, results = explained(task, tmp_path, names)
    assert results.about
    for name, why in refused.items():
        assert name in ("alignment", "attention", "attention_gradients", "grad_cam", "hires_cam",
                        "rollout", "shapley", "weights"), why  # fmt: skip
    for one in (each for own in found.values() for each in own):
        assert "largest outputs" not in one.explained
        assert np.isfinite(one.score)
        for part in one.parts.values():
            assert np.isfinite(part.values).all()
    for one in found.get("integrated_gradients", ()):
        told = sum(one.modalities.values())
        assert told == pytest.approx(one.facts["gained"], abs=1e-2 * (1 + abs(told)))
    # What is hidden changes something, and so does what is turned a little.
    for name in ("gradients", "occlusion"):
        sizes = {}
        for one in found[name]:
            for modality, part in one.parts.items():
                sizes[modality] = sizes.get(modality, 0.0) + float(np.abs(part.values).sum())
        assert sizes, name
        assert all(size > 0 for size in sizes.values()), (name, sizes)

"""The engine behind KServe and Ray Serve, as far as they are installed."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util

import pytest
from fake_program import FakeProgram

from mmjax.core.extras import MissingExtra
from mmjax.serve.ray_deployment import application


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_ray_says_which_extra_it_needs():
    with pytest.raises(MissingExtra, match=r"mmjax\[ray\]"):
        application("exported")


@pytest.mark.skipif(importlib.util.find_spec("kserve") is not None, reason="kserve is installed")
def test_kserve_says_which_extra_it_needs():
    with pytest.raises(MissingExtra, match=r"mmjax\[kserve\]"):
        importlib.import_module("mmjax.serve.kserve_model")


def test_a_model_of_kserve_answers_and_refuses(monkeypatch):
    kserve = pytest.importorskip("kserve")
    module = importlib.import_module("mmjax.serve.kserve_model")
    monkeypatch.setattr(module, "load", lambda folder: FakeProgram())
    texts = kserve.InferInput("text", [2], "BYTES", data=["a", "b"])

    async def main():
        model = module.Model("exported", name="fruit")
        early = await model.healthy()
        await model.start_engine()
        found = await model.predict(kserve.InferRequest("fruit", [texts]))
        bad = kserve.InferInput("txt", [2], "BYTES", data=["a", "b"])
        with pytest.raises(Exception, match="MMX-801") as refused:
            await model.predict(kserve.InferRequest("fruit", [bad]))
        ready = await model.healthy()
        model.stop_engine()
        return early, ready, found.outputs[0], refused.value.status_code

    early, ready, output, status = asyncio.run(main())
    assert (early, ready, status) == (False, True, 400)
    assert (output.name, list(output.shape)) == ("probabilities", [2, 3])

"""What a filter changes and withholds, and that nothing goes out past one that fails."""

from __future__ import annotations

import dataclasses
import json
import time

import pytest
from in_process import is_problem, served, text

from mmjax.core.errors import ConfigError
from mmjax.serve import filtering
from mmjax.serve.config import EngineConfig, ServeConfig

NOT_A_FUNCTION = 3


def polite(example, result):
    said = example.get("text")
    if said == "rude":
        return None
    if said == "slow filter":
        time.sleep(0.5)
    if said == "fails":
        raise RuntimeError("no")
    if said == "renames":
        return dataclasses.replace(result, arrays={"other": result.arrays["probabilities"]})
    if said == "no result":
        return {"label": "apple"}
    if "text" in result.answer:
        return dataclasses.replace(result, answer={"text": result.answer["text"].upper()})
    return dataclasses.replace(result, answer={**result.answer, "seen": said})


CONFIG = ServeConfig(engine=EngineConfig(filter="test_filtering:polite"))


def test_an_answer_is_changed_or_withheld_in_every_way_of_asking():
    async def body(s):
        asks = {"instances": [{"text": "rude"}, {"text": "b"}]}
        return (
            await s.predict(text="a"),
            await s.predict(text="rude"),
            await s.client.post("/v1/predict", json=asks),
            await s.infer(text("a", "b")),
            await s.infer(text("a", "rude")),
            await s.client.get("/v2/models/fruit"),
            (await s.client.get("/metrics")).text,
        )

    one, withheld, some, inferred, refused, about, metrics = served(body, CONFIG)
    assert about.json()["parameters"]["filter"] == "test_filtering:polite"
    assert 'mmjax_item_errors_total{code="MMX-817"} 3.0' in metrics.splitlines()
    assert one.json()["prediction"]["answer"]["seen"] == "a"
    assert is_problem(withheld, 403, 817, "withheld")
    first, second = some.json()["predictions"]
    assert (first["code"], second["answer"]["seen"]) == ("MMX-817", "b")
    answers = next(one for one in inferred.json()["outputs"] if one["name"] == "answer")
    assert [json.loads(one)["seen"] for one in answers["data"]] == ["a", "b"]
    assert is_problem(refused, 403, 817)


def test_nothing_goes_out_past_a_filter_that_fails():
    async def body(s):
        said = [await s.predict(text=one) for one in ("fails", "renames", "no result")]
        late = {"inputs": {"text": "slow filter"}, "timeout_ms": 100}
        return said, await s.client.post("/v1/predict", json=late), await s.predict(text="a")

    said, late, good = served(body, CONFIG)
    assert all(is_problem(one, 500, 818) for one in said)
    assert is_problem(late, 504, 813)
    assert good.status_code == 200


def test_a_text_is_filtered_whole_before_any_of_it_is_sent():
    async def body(s):
        asks = [{"inputs": {"text": one}, "stream": True} for one in ("red fish", "rude")]
        return [await s.client.post("/v1/predict", json=one) for one in asks]

    written, withheld = served(body, CONFIG)
    events = [one for one in written.text.split("\n\n") if one]
    assert events[0] == 'data: {"text":"RED FISH "}'
    assert events[1].startswith("event: done")
    assert is_problem(withheld, 403, 817)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "no filter 'nobody'.*module:function"),
        ("no_such_module:polite", "cannot be imported: ModuleNotFoundError"),
        ("test_filtering:polit", "cannot be imported: AttributeError"),
        ("test_filtering:NOT_A_FUNCTION", "int, no function"),
    ],
)
def test_a_name_that_is_none_is_one_error(name, said):
    with pytest.raises(ConfigError, match=f"MMX-189.*{said}"):
        filtering.named(name)

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Registry, Spec, fact


@dataclasses.dataclass(frozen=True)
class Concat:
    width: int = 64
    depth: int = 1
    labels: int = fact()


@dataclasses.dataclass(frozen=True)
class Gated:
    width: int


registry = Registry("fusion", {"concat": f"{__name__}:Concat", "gated": f"{__name__}:Gated"})


@dataclasses.dataclass(frozen=True)
class Model:
    fusion: Annotated[Spec, registry] = Spec("concat", width=128)
    parts: Mapping[str, Annotated[Spec, registry]] = dataclasses.field(
        default_factory=lambda: {"text": Spec("concat")}
    )


@dataclasses.dataclass(frozen=True)
class Whole:
    model: Model = dataclasses.field(default_factory=Model)
    rate: float = 1e-3
    steps: int | None = None
    kind: Literal["adam", "sgd"] = "adam"
    lengths: tuple[int, ...] = (8, 16)
    verbose: bool = False


def test_overrides_are_typed_and_reach_through_specs():
    changed = config_lib.override(
        Whole(),
        [
            "model.fusion.width=256",
            "model.parts.text.depth=3",
            "rate=3e-4",
            "steps=10",
            "lengths=4,8,12",
            "verbose=true",
            "kind=sgd",
        ],
    )
    assert changed.model.fusion == Spec("concat", width=256)
    assert changed.model.parts["text"].options == {"depth": 3}
    assert (changed.rate, changed.steps, changed.lengths) == (3e-4, 10, (4, 8, 12))
    assert changed.verbose is True
    assert changed.kind == "sgd"
    assert config_lib.override(changed, ["steps=none"]).steps is None


def test_another_name_keeps_the_shared_options():
    changed = config_lib.override(Whole(), ["model.fusion=gated"])
    assert changed.model.fusion == Spec("gated", width=128)


def test_json_round_trip_spells_out_defaults():
    dumped = config_lib.to_json(Whole())
    assert dumped["model"]["fusion"] == {"name": "concat", "width": 128, "depth": 1}
    assert config_lib.to_json(config_lib.from_json(Whole, dumped)) == dumped


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.fusion.widht=3", "did you mean 'width'"),
        ("modle.fusion.width=3", "did you mean 'model'"),
        ("model.parts.txt.depth=3", "did you mean 'text'"),
        ("model.fusion=concatt", "did you mean 'concat'"),
        ("rate=fast", "expected float"),
        ("steps=1.5", "expected int or none"),
        ("verbose=1", "expected bool"),
        ("kind=adamw", "did you mean 'adam'"),
        ("rate", "not of the form key=value"),
        ("rate.deep=3", "has no keys below it"),
    ],
)
def test_a_typo_names_the_nearest_valid_choice(change, message):
    with pytest.raises(ConfigError, match=message):
        config_lib.override(Whole(), [change])


def test_a_config_file_with_wrong_types_is_refused():
    with pytest.raises(ConfigError, match="rate"):
        config_lib.check(Whole(rate="fast"))


def test_facts_are_passed_by_the_caller_and_are_not_settings():
    assert registry.build("concat", facts={"labels": 9, "unused": 1}).labels == 9
    with pytest.raises(ConfigError, match="needs width"):
        registry.build("gated")
    with pytest.raises(ConfigError, match="no setting 'depht'"):
        registry.build("concat", depht=2)


def test_differences_are_named_by_path():
    ours, theirs = config_lib.to_json(Whole()), config_lib.to_json(Whole(rate=0.5))
    assert config_lib.differences(ours, theirs) == ["rate: 0.001 -> 0.5"]

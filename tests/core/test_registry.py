from __future__ import annotations

import dataclasses

import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Registry, Spec, fact


@dataclasses.dataclass(frozen=True)
class Thing:
    width: int
    depth: int = 1
    labels: int = fact(0)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    made: int = dataclasses.field(default=0, init=False)


PLACE = f"{__name__}:Thing"


def registry() -> Registry:
    return Registry("thing", {"thing": PLACE})


def test_names_are_sorted_and_nothing_is_imported_for_them():
    names = Registry("thing", {"b": "no.such.module:B", "a": "no.such.module:A"})
    assert list(names) == ["a", "b"]
    assert "a" in names
    assert "c" not in names
    with pytest.raises(ModuleNotFoundError):
        names.load("a")


def test_settings_are_the_fields_that_a_config_may_give():
    found = registry().settings("thing")
    assert list(found) == ["width", "depth", "sizes"]
    assert (found["width"].type, found["width"].default) == (int, dataclasses.MISSING)
    assert (found["depth"].type, found["depth"].default) == (int, 1)
    assert (found["sizes"].type, found["sizes"].default) == (dict[str, int], {})
    assert registry().facts("thing") == ("labels",)


def test_a_spec_is_a_value():
    spec = Spec("thing", width=3)
    assert spec == Spec("thing", width=3) != Spec("thing", width=4)
    assert spec.replace(depth=2) == Spec("thing", width=3, depth=2)
    assert spec == Spec("thing", width=3)
    assert repr(spec) == "Spec('thing', width=3)"
    assert registry().build(spec, depth=2) == Thing(3, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"


def test_facts_are_passed_only_to_who_wants_them():
    made = registry().build(Spec("thing", width=3), facts={"labels": 9, "vocab_size": 5})
    assert made == Thing(3, 1, 9)
    assert registry().build("thing", width=3, facts={"labels": None}).labels == 0


@pytest.mark.parametrize(
    ("name", "options", "code", "told"),
    [
        ("thng", {}, 102, "did you mean 'thing'"),
        ("thing", {"width": 1, "dpth": 2}, 101, "did you mean 'depth'"),
        ("thing", {}, 103, "give width=..."),
    ],
)
def test_what_cannot_be_built_is_named(name, options, code, told):
    with pytest.raises(ConfigError) as caught:
        registry().build(name, **options)
    assert caught.value.code == code
    assert told in caught.value.fix


def test_registering_twice_is_harmless_and_another_meaning_is_refused():
    """A config file that registers may be loaded more than once in a process."""
    names = registry()
    for _ in range(2):
        names.register("other", PLACE)
    assert names.load("other") is Thing
    with pytest.raises(ConfigError, match="'thing' is registered already"):
        names.register("thing", "somewhere:Else")


def test_two_registries_as_one():
    first, second = registry(), Registry("whole", {"whole": PLACE})
    both = first.joined(second)
    assert (both.kind, list(both)) == ("thing", ["thing", "whole"])
    second.register("late", PLACE)
    assert both.build("late", width=2) == Thing(2)
    assert "whole" not in first
    with pytest.raises(ConfigError, match="registered already"):
        both.register("whole", "elsewhere:Thing")

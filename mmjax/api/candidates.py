"""Other ways to run the same step: meshes, what is computed again, micro-batches."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from mmjax.core import config as config_lib
from mmjax.core.registry import Registry, Spec
from mmjax.parallel.mesh import MeshConfig, mesh_shape
from mmjax.train.config import Config

_SMALLER = 6.0
"""By how much `remat=full` is guessed to shrink activations, before any was compiled."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A way to run a step: its settings, and what the config is with them."""

    settings: tuple[str, ...]
    config: Config
    sizes: tuple[int, ...]
    """Of the mesh: data, fsdp, tensor."""
    remat: str
    """"own" where the config's own settings stay."""
    micro: int

    @property
    def rows(self) -> float:
        """Rows of a micro-batch on one device."""
        return self.config.data.batch_size / self.sizes[0] / self.sizes[1] / self.micro


def remat_settings(config: Config) -> dict[str, str]:
    """`{"model.encoders.image.remat": "none", ...}` of all stacks of layers with the choice."""
    found: dict[str, str] = {}
    hints = typing.get_type_hints(Config, include_extras=True)
    _in_value(hints["model"], config.model, "model", found)
    if config.objectives:
        _in_value(hints["objectives"], config.objectives, "objectives", found)
    else:
        _in_value(hints["task"], config.task, "task", found)
    if config.objectives and not _fuses(config):
        found = {path: one for path, one in found.items() if not path.startswith("model.fusion")}
    return found


def _fuses(config: Config) -> bool:
    from mmjax.objectives import registry

    return any(
        getattr(registry.load(spec.name), "uses_fusion", False)
        for spec in config.objectives.values()
    )


def _in_value(annotation: Any, value: Any, path: str, found: dict[str, str]) -> None:
    registry = _registry_of(annotation)
    if isinstance(value, Spec):
        if registry is None:
            return
        settings = registry.settings(value.name)
        if "remat" in settings:
            found[f"{path}.remat"] = value.options.get("remat", settings["remat"].default)
        for name, option in value.options.items():
            if name in settings and name != "remat":
                _in_value(settings[name].type, option, f"{path}.{name}", found)
    elif isinstance(value, Mapping):
        inner = typing.get_args(annotation)
        for name, one in value.items():
            if len(inner) == 2:
                _in_value(inner[1], one, f"{path}.{name}", found)
    elif dataclasses.is_dataclass(value):
        hints = typing.get_type_hints(type(value), include_extras=True)
        for field in dataclasses.fields(value):
            _in_value(hints[field.name], getattr(value, field.name), f"{path}.{field.name}", found)


def _registry_of(annotation: Any) -> Registry | None:
    if typing.get_origin(annotation) is typing.Annotated:
        return next((one for one in annotation.__metadata__ if isinstance(one, Registry)), None)
    for member in typing.get_args(annotation):
        if typing.get_origin(member) is typing.Annotated:
            return _registry_of(member)
    return None


def candidates(config: Config, devices: int) -> Iterator[Candidate]:
    """Every way that splits the batch evenly: the config's own first, then by mesh."""
    own = mesh_shape(dataclasses.replace(config.mesh, sequence=0), devices)
    remat = remat_settings(config)
    can = {path: "full" for path, now in remat.items() if now != "full"}
    accumulate = config.train.gradient_accumulation_steps
    for sizes in sorted(_meshes(devices), key=lambda one: (one != own, one[2], one[1])):
        for policy, changes in (("own", {}), ("full", can)):
            if policy == "full" and not can:
                continue
            for times in (2**i for i in range(12)):
                micro = accumulate * times
                if config.data.batch_size % (sizes[0] * sizes[1] * micro):
                    break
                settings = [f"{path}={value}" for path, value in changes.items()]
                if sizes != own:
                    settings += [
                        f"mesh.{axis}={size}"
                        for axis, size in zip(("data", "fsdp", "tensor"), sizes, strict=True)
                    ]
                if micro != accumulate:
                    settings.append(f"train.gradient_accumulation_steps={micro}")
                changed = config_lib.override(config, settings)
                yield Candidate(tuple(settings), changed, sizes, policy, micro)


def _meshes(devices: int) -> Iterator[tuple[int, int, int]]:
    for tensor in (1, 2, 4, 8):
        for fsdp in (2**i for i in range(devices.bit_length())):
            if devices % (tensor * fsdp) == 0:
                shape = mesh_shape(MeshConfig(-1, fsdp, tensor), devices)
                yield shape[0], shape[1], shape[2]


class Guess:
    """What a candidate would need and take, from those that were compiled."""

    def __init__(self, limit: int, state: float):
        self._limit = limit
        self._state = state
        """Bytes of the whole state, where it is not split."""
        self._rates: dict[str, float] = {}

    def learn(self, one: Candidate, temporary: float) -> None:
        """What a row of a micro-batch took on a device."""
        self._rates[one.remat] = max(
            temporary / one.rows * math.sqrt(one.sizes[2]), self._rates.get(one.remat, 0.0)
        )

    def needs(self, one: Candidate) -> float:
        """Bytes of one device."""
        own = self._rates.get("own", 0.0)
        rate = self._rates.get(one.remat)
        if rate is None:
            rate = own / _SMALLER if one.remat == "full" else own
        split = one.sizes[1] * one.sizes[2]
        return self._state / split + rate * one.rows / math.sqrt(one.sizes[2])

    def fits(self, one: Candidate) -> bool:
        return self.needs(one) <= self._limit

    def takes(self, one: Candidate) -> float:
        """In no unit: computing again, and what each axis sends."""
        again = 4 / 3 if one.remat == "full" else 1.0
        sends = 1 + 0.02 * math.log2(one.sizes[1]) + 0.15 * math.log2(one.sizes[2])
        return again * sends * (1 + 0.01 * math.log2(max(one.micro, 1)))

"""The run that another one starts from, and what of it a config takes over."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.checkpoint.digests import LeafRecord
from mmjax.checkpoint.load import stored_leaves
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import as_tuples
from mmjax.core.registry import Spec
from mmjax.data.meaning import require_same_meaning
from mmjax.train import transfer
from mmjax.train.config import Config, InitConfig


@dataclasses.dataclass(frozen=True)
class OtherRun:
    """The run that another one starts from."""

    init: InitConfig
    config: Config
    folder: RunFolder

    @classmethod
    def open(cls, init: InitConfig) -> OtherRun:
        if not init.run:
            raise ConfigError(103, "init needs a run", where="init.run", fix="name its folder")
        folder = RunFolder(init.run).open()
        return cls(init, config_lib.from_json(Config, folder.read_config()), folder)

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        return as_tuples(self.folder.read_facts())

    @functools.cached_property
    def names(self) -> set[str]:
        """The names of its parameters."""
        return set(shapes(stored_leaves(self.folder.path), "params"))

    def pairs(self, config: Config) -> dict[str, str]:
        """Modality of the config -> that of this run, whose encoder and processor it takes.

        Raises ConfigError for names that either run lacks.
        """
        ours, theirs = config.data.modalities, self.config.data.modalities
        for own, other in self.init.modalities.items():
            for name, known, where in ((own, ours, "the data"), (other, theirs, self.init.run)):
                if name not in known:
                    raise ConfigError(
                        109,
                        f"no modality '{name}' in {where}",
                        where="init.modalities",
                        fix=nearest(name, known),
                    )
        return dict(self.init.modalities) or {name: name for name in ours if name in theirs}

    def encoders(self, config: Config) -> dict[str, str]:
        """As `pairs`, of those whose encoder gives some parameter."""

        def gives(ours: str, theirs: str) -> bool:
            start = f"encoders_{theirs}/"
            inner = (name.removeprefix(start) for name in self.names if name.startswith(start))
            return any(transfer.selected(self.init, f"encoders_{ours}/{name}") for name in inner)

        return {ours: theirs for ours, theirs in self.pairs(config).items() if gives(ours, theirs)}


def with_run(config: Config, stored: Mapping[str, Any] | None = None) -> Config:
    """The config with the modalities and encoders that it has from the run of `init` spelled out.

    What `encoders` says of one overrides what that run says. `stored` is the config of a run that
    goes on: what it started from is known, and `init.run` is not needed.

    Raises ConfigError for a modality that either lacks, or an encoder of another kind;
    CheckpointError if there is no such run.
    """
    if config.init is None:
        return config
    if stored is not None:
        known = config_lib.from_json(Config, stored)
        if known.init is None or known.init.run != config.init.run:
            return config
        theirs = {name: name for name in known.init.modalities if name in known.model.encoders}
        given = _with_encoders(config, known, theirs)
        return dataclasses.replace(given, init=known.init)
    source = OtherRun.open(config.init)
    given = _with_encoders(config, source.config, source.encoders(config))
    init = dataclasses.replace(config.init, modalities=source.pairs(config))
    return dataclasses.replace(given, init=init)


def _with_encoders(config: Config, source: Config, taken: Mapping[str, str]) -> Config:
    """The config with the encoders of another one, as far as it does not say otherwise."""
    model = config.model
    found: dict[str, Spec] = {}
    for name, theirs in taken.items():
        own, other = model.encoders.get(name), source.model.encoders[theirs]
        if own is not None and own.name != other.name:
            raise ConfigError(
                109,
                f"the encoder of '{theirs}' in the run is a {other.name}, not a {own.name}",
                where=f"model.encoders.{name}",
                fix=f"leave the encoder out, name it {other.name}, or init.exclude=encoders_{name}",
            )
        found[name] = other if own is None else other.replace(**own.options)
    encoders = {**model.encoders, **found}
    ordered = [name for name in config.data.modalities if name in encoders]
    encoders = {name: encoders[name] for name in [*ordered, *encoders]}
    return dataclasses.replace(config, model=dataclasses.replace(model, encoders=encoders))


def alone(init: InitConfig | None, name: str) -> InitConfig | None:
    """What a run of one modality starts from; None where the other run has nothing for it.

    Patterns that name other modalities are left out. `init` is one that `with_run` completed.
    """
    if init is None or name not in init.modalities:
        return None
    others = [f"encoders_{other}" for other in init.modalities if other != name]

    def own(patterns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(p for p in patterns if not any(p.startswith(other) for other in others))

    include = own(init.include)
    if not include:
        return None
    kept = {name: init.modalities[name]}
    return dataclasses.replace(init, include=include, exclude=own(init.exclude), modalities=kept)


def processor_folders(config: Config) -> dict[str, Path]:
    """Modality -> the folder of the processor that the run of `init` fitted for it.

    Raises ConfigError if a modality's numbers would mean something else than in that run.
    """
    if config.init is None:
        return {}
    source = OtherRun.open(config.init)
    found = {}
    for name, theirs in source.encoders(config).items():
        require_same_meaning(
            config.data.modalities[name],
            source.config.data.modalities[theirs],
            where=f"data.modalities.{name}",
            run=config.init.run,
            name=theirs,
        )
        found[name] = source.folder.processors / "modalities" / theirs
    return found


def shapes(leaves: Mapping[str, LeafRecord], root: str) -> dict[str, tuple[int, ...]]:
    """The shapes of what lies below a root such as "params", by the names there."""
    start = f"{root}/"
    return {p.removeprefix(start): r.shape for p, r in leaves.items() if p.startswith(start)}

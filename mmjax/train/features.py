"""Outputs of frozen encoders, made once and kept on disk: what training then runs on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from mmjax.core.typing import Float, Int
from mmjax.data.dataset import Dataset
from mmjax.data.kept import PRESENT
from mmjax.models.kept import Kept
from mmjax.train import feature_checks
from mmjax.train.config import Config
from mmjax.train.example import example_shapes
from mmjax.train.feature_part import Part, Variables
from mmjax.train.state import StatePlan, TrainState


@dataclasses.dataclass(frozen=True)
class Features:
    """A model and a data set of which some encoders' outputs are kept: all of training."""

    module: Any
    dataset: Dataset
    parts: tuple[Part, ...] = ()

    def fill(self, state: TrainState) -> None:
        """Makes what is not kept yet, with the weights of a state. A collective."""
        for part in self.parts:
            part.fill(state.variables)

    def serves(self, dataset: Dataset, mesh: Mesh) -> bool:
        """Whether some features of this data set's rows can be had, on this mesh."""
        return any(
            part.mesh == mesh and part.dataset.table.fingerprint == dataset.table.fingerprint
            for part in self.parts
        )

    def evaluating(
        self, module: Any, dataset: Dataset, split: str, variables: Variables
    ) -> tuple[Any, Dataset]:
        """The whole model and a split of the data as evaluation takes them: on features, which are
        made if they are not kept yet. A collective."""
        rows = np.sort(dataset.rows(split))
        parts = {
            part.name: part.holding({False: part.store(variables, rows, train=False)})
            for part in self.parts
        }
        return _fed(module, parts), _feeding(dataset, parts)

    def summaries(
        self, name: str, variables: Variables, rows: Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "n d"] | None:
        """What evaluation sees of rows as one vector each, 0 where the modality is absent; None of
        a modality without features. A collective."""
        part = next((one for one in self.parts if one.name == name), None)
        if part is None:
            return None
        store = part.store(variables, np.sort(rows), train=False)
        places = store.places(rows)
        return np.where(store.arrays[PRESENT][places, None], store.arrays["pooled"][places], 0)


def planned(config: Config, dataset: Dataset, module: Any, plan: StatePlan, mesh: Mesh) -> Features:
    """The model and data with what `train.feature_cache` names in place of its encoders.

    Raises ConfigError for an encoder that is not frozen, draws random numbers or sees random
    examples in training, and where something else reads the fields that it was to read.
    """
    names = feature_checks.named(config, module)
    if not names:
        return Features(module, dataset)
    for name in names:
        feature_checks.require_frozen(config, module, plan, name)
        feature_checks.require_still(config, dataset, name)
    parts = {n: Part.planned(config, dataset, module, plan, mesh, n) for n in names}
    tokens = _tokens_read(config, dataset, module, plan, parts)
    parts = {
        name: part.with_tokens(plan) if name in tokens else part.without_tokens()
        for name, part in parts.items()
    }
    return Features(_fed(module, parts), _feeding(dataset, parts), tuple(parts.values()))


def _fed(module: Any, parts: Mapping[str, Part]) -> Any:
    stand_ins = {name: Kept(width=part.width) for name, part in parts.items()}
    return module.clone(encoders={**module.encoders, **stand_ins})


def _feeding(dataset: Dataset, parts: Mapping[str, Part]) -> Dataset:
    own = {name: part.processor for name, part in parts.items()}
    return dataclasses.replace(
        dataset,
        modalities={**dataset.modalities, **own},
        columns={**dataset.columns, **dict.fromkeys(own, ())},
    )


def _tokens_read(
    config: Config, dataset: Dataset, module: Any, plan: StatePlan, parts: Mapping[str, Part]
) -> set[str]:
    """The modalities of which anything in training or validation depends on the tokens."""
    batch = example_shapes(_feeding(dataset, parts), config.data.batch_size)
    return feature_checks.tokens_read(_fed(module, parts), batch, plan.abstract, set(parts))

"""A run's encoder in the form that its weights came in: a folder that transformers loads."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.run import Run, load_run
from mmjax.checkpoint.load import load_arrays
from mmjax.checkpoint.trees import nest
from mmjax.core.errors import ConfigError, nearest
from mmjax.export.variants import flatten
from mmjax.pretrained import load as hugging_face
from mmjax.pretrained import save as saving
from mmjax.pretrained.load import open_folder


def save_encoder(run: Run | str | os.PathLike, modality: str, out: str | os.PathLike) -> Path:
    """The tuned encoder of a modality as safetensors, config and processor files.

        mmjax.save_encoder("runs/first", "text", "tuned-bert")

    It must have begun from a Hugging Face folder or hub id, which says the rest of the config and
    is read again. Raises ConfigError for an encoder of another beginning and one with adapters,
    WeightsError if `out` holds weights already, or the folder that it began from is gone.
    """
    run = run if isinstance(run, Run) else load_run(run)
    sources = run.config.model.pretrained
    if modality not in sources:
        raise ConfigError(
            109,
            f"'{modality}' did not begin from a Hugging Face folder",
            where="model.pretrained",
            fix=nearest(modality, sources),
        )
    if run.config.adapt:
        raise ConfigError(
            109,
            "the run has adapters beside its encoders",
            where="adapt",
            fix="mmjax adapter merge makes a run without them",
        )
    spec = run.config.model.encoders[modality]
    known = hugging_face.read(dataclasses.replace(open_folder(sources[modality]), spec=spec))
    mine = flatten(known.variables)
    theirs = {path: np.asarray(value) for path, value in flatten(_own(run, modality)).items()}
    wrong = [p for p in mine if p not in theirs or theirs[p].shape != tuple(mine[p].shape)]
    if wrong:
        raise ConfigError(
            109,
            f"'{sources[modality]}' is not what the run began from: {', '.join(wrong[:3])} differ",
            where=f"model.pretrained.{modality}",
            fix="restore that folder",
        )
    variables = nest({path: theirs[path].astype(mine[path].dtype) for path in mine})
    return saving.save(known.replace(variables=variables), out)


def _own(run: Run, modality: str) -> dict[str, Any]:
    """The variables of one encoder, as the run is evaluated with."""
    key = f"encoders_{modality}"
    if run._loaded is not None:
        trees = dict(run._loaded[0])
    else:
        arrays = load_arrays(run.folder.path, run.step, prefixes=("params", "ema", "collections"))
        trees = {"params": arrays.get("ema") or arrays["params"], **arrays.get("collections", {})}
    return {kind: tree[key] for kind, tree in trees.items() if key in tree}

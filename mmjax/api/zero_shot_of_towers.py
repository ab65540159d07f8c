"""Zero-shot classes of a run whose pictures are read by a tower of CLIP, SigLIP and the like."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmjax import encoders
from mmjax.api.pretrained_pipeline import ZeroShot
from mmjax.api.run import Run
from mmjax.api.zero_shot import TEMPLATES, zero_shot
from mmjax.core.errors import ConfigError
from mmjax.core.typing import Float
from mmjax.data.config import kind_of
from mmjax.metrics.retrieval import unit
from mmjax.pretrained.load import open_folder


@dataclasses.dataclass(frozen=True)
class Tower:
    """One side of a pretrained joint space."""

    modality: str
    folder: str
    """The folder or hub id of both sides."""
    side: str
    """Its name in that folder, such as "vision"."""


def tower_of(run: Run) -> Tower:
    """The pretrained picture tower of a run, whose other side reads words.

    Raises ConfigError that says what the pretrained encoders are instead.
    """
    modalities, model = run.config.data.modalities, run.config.model
    for name, source in model.pretrained.items():
        folder, _, side = str(source).partition("#")
        if kind_of(modalities[name]) != "image" or not side:
            continue
        opened = open_folder(folder)
        if opened.family.registry is encoders.towers and side in opened.spec.options["towers"]:
            return Tower(name, folder, side)
    known = [f"{name} is a {model.encoders[name].name}" for name in model.pretrained]
    raise ConfigError(
        109,
        f"no encoder of pictures came with one of words ({', '.join(known) or 'none is pretrained'}"
        "), so the names of classes cannot be compared with rows",
        where="model.pretrained",
        fix="a tower of CLIP or SigLIP, FOLDER#vision, or init.run of a run with a joint space",
    )


def of_names(
    tower: Tower,
    pooled: Float[np.ndarray, "n d"],
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
) -> Float[np.ndarray, "n c"]:
    """Probabilities of classes by their names, of rows that the tower summed up as `pooled`.

    Both are brought to the folder's joint space by its projections, where it has any; prompts are
    averaged over `templates` as `prompt_embeddings` does. Raises ConfigError where the folder has
    no tokenizer, WeightsError as `mmjax.load_pretrained`.
    """
    whole = ZeroShot(tower.folder)
    prompts = [one.replace("{}", name) for name in names for one in templates]
    words = unit(whole.vectors_of(prompts)).reshape(len(names), len(templates), -1)
    params = whole.encoder.params
    projection = params.get(f"{tower.side}_projection")
    vectors = np.asarray(pooled, np.float64)
    if projection is not None:
        vectors = vectors @ np.asarray(projection["kernel"], np.float64)
    scale = float(np.exp(np.asarray(params["logit_scale"], np.float64)))
    return zero_shot(vectors, unit(words.mean(axis=1)), logit_scale=scale)

"""Classes given as words: a joint space's zero-shot classifier, from prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmjax.api.searching import known_modality
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.typing import Float
from mmjax.data.config import kind_of
from mmjax.data.config import modalities as modality_registry
from mmjax.metrics.retrieval import unit

if TYPE_CHECKING:
    from mmjax.api.run import Run
    from mmjax.data.dataset import Dataset

TEMPLATES = ("a photo of a {}.",)


def zero_shot(
    embeddings: Float[np.ndarray, "n e"],
    class_embeddings: Float[np.ndarray, "c e"],
    *,
    logit_scale: float = 100.0,
) -> Float[np.ndarray, "n c"]:
    """Probabilities of classes: the softmax of `logit_scale` times cosine similarities.

    Radford et al. 2021 (CLIP), whose scale ends at its limit of 100. Raises DataError for vectors
    of unequal width.
    """
    left, right = np.asarray(embeddings), np.asarray(class_embeddings)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise DataError(
            562,
            f"vectors of shape {list(left.shape)}, classes of {list(right.shape)}",
            fix="expected [n e] and [c e] of one joint space",
        )
    logits = logit_scale * (unit(left).astype(np.float64) @ unit(right).astype(np.float64).T)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def prompt_embeddings(
    run: Run,
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    *,
    modality: str | None = None,
) -> Float[np.ndarray, "c e"]:
    """One vector a class, of length 1: the mean over templates of the prompts' unit vectors.

    Each template holds one `{}`. `modality` is the run's only one of text if None. Raises
    ConfigError for a template without a place, no or repeated names, and an unknown modality.
    """
    wrong = [one for one in templates if one.count("{}") != 1]
    if wrong or not templates:
        told = f"template '{wrong[0]}'" if wrong else "no templates"
        raise ConfigError(106, told, fix="write {} once where the name goes: 'a photo of a {}.'")
    if len(set(names)) != len(names) or not len(names):
        raise ConfigError(
            106, f"{len(names)} names, {len(set(names))} different", fix="name each once"
        )
    chosen = modality_of_kind(run, "text", modality)
    prompts = [one.replace("{}", name) for name in names for one in templates]
    table = {name: cells * len(prompts) for name, cells in run.columns_of({}).items()}
    if run.config.data.id_column is not None:
        table[run.config.data.id_column] = [str(i) for i in range(len(prompts))]
    table[modality_registry.build(run.config.data.modalities[chosen]).reads()[0]] = prompts
    vectors = unit(run.embed(table)[chosen])
    return unit(vectors.reshape(len(names), len(templates), -1).mean(axis=1))


def classify(
    run: Run,
    data: Any = None,
    *,
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    modality: str | None = None,
    text: str | None = None,
    split: str | None = None,
    root: str | None = None,
    logit_scale: float = 100.0,
) -> list[dict[str, Any]]:
    """One dictionary a row: `id`, `label`, `probability`, `probabilities` by name.

    For a run whose modalities lie in one joint space. `modality` is what is classified, the run's
    only one of pictures if None, and `text` what reads the prompts. Rows without it are left out.
    """
    return classify_dataset(
        run,
        run.dataset(data, root=root),
        names=names,
        templates=templates,
        modality=modality,
        text=text,
        split=split,
        logit_scale=logit_scale,
    )


def classify_dataset(
    run: Run,
    dataset: Dataset,
    *,
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    modality: str | None = None,
    text: str | None = None,
    split: str | None = None,
    logit_scale: float = 100.0,
) -> list[dict[str, Any]]:
    """As `classify`, for a data set that `run.dataset` made."""
    chosen = modality_of_kind(run, "image", modality)
    classes = prompt_embeddings(run, names, templates, modality=text)
    found = run.embed_dataset(dataset, split)
    present = np.any(found[chosen] != 0, axis=1)
    shares = zero_shot(found[chosen][present], classes, logit_scale=logit_scale)
    answers = []
    for one, row in zip(found["ids"][present], shares, strict=True):
        best = int(row.argmax())
        answers.append(
            {
                "id": one.item(),
                "label": names[best],
                "probability": float(row[best]),
                "probabilities": dict(zip(names, row.tolist(), strict=True)),
            }
        )
    return answers


def modality_of_kind(run: Run, kind: str, name: str | None) -> str:
    """`name` if the run has it, else its modality of a kind; of several, that named like the kind.

    Raises ConfigError otherwise.
    """
    if name is not None:
        return known_modality(run, name)
    modalities = run.config.data.modalities
    fitting = [one for one, spec in modalities.items() if kind_of(spec) == kind]
    if kind in fitting:
        return kind
    if len(fitting) != 1:
        what = f"the run has {len(fitting)} modalities of kind {kind}"
        raise ConfigError(109, what, fix="name one; " + nearest(kind, fitting or modalities))
    return fitting[0]

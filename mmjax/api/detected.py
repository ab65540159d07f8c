"""What a report shows of boxes: pictures with those that were found and those that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api import showing
from mmjax.api.run import Run
from mmjax.data.config import modalities as modality_registry
from mmjax.data.dataset import Dataset
from mmjax.report import Example
from mmjax.report.boxes import draw_boxes
from mmjax.train.evaluate import Evaluation

_DRAWN = 12


def page(
    run: Run, task: Any, evaluation: Evaluation, dataset: Dataset, all_: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """Fields of `ReportContents`: rows drawn at random, their boxes drawn onto their pictures."""
    chosen = np.random.default_rng(0).permutation(len(evaluation.rows))[:_DRAWN]
    decoded = task.decode({k: np.asarray(v)[chosen] for k, v in evaluation.predictions.items()})
    targets = np.asarray(evaluation.targets[task.target])[chosen]
    (column,) = modality_registry.build(run.config.data.modalities[task.image]).reads()
    shown = []
    for index, answer, target in zip(chosen.tolist(), decoded, targets, strict=True):
        row = int(evaluation.rows[index])
        fields, images = showing.inputs(run, dataset, row)
        true = true_boxes(target, task.box_names)
        if column in images:
            images[column] = draw_boxes(images[column], answer["boxes"], true)
        example = Example(
            row=row,
            id=str(dataset.ids([row])[0]),
            fields=fields,
            images=images,
            prediction=_counted(answer["boxes"]),
            label=_counted(true),
            group="Drawn at random: solid what was found, dashed what is there",
        )
        shown.append(example)
    headline = next((name for name in task.headline if name in evaluation.metrics), "loss")
    return {"headline": headline, "examples": shown}


def true_boxes(target: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The boxes of a row of a batch's targets, [most 8], as `Detection.decode` gives them."""
    return [
        {
            "box": [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2],
            "label": names[int(label)],
        }
        for cx, cy, w, h, label in np.asarray(target, np.float64)[:, :5].tolist()
        if label >= 0
    ]


def _counted(boxes: Sequence[Mapping[str, Any]]) -> str:
    labels = [one["label"] for one in boxes]
    counts = {label: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{n} {label}" for label, n in counts.items()) or "nothing"

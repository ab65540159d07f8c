"""Writes `detection.npz`: the loss of DETR by transformers' torch classes, and its gradients.

pip install torch transformers==4.57.6 scipy && python tests/golden/make_detection.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import DetrConfig
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, generalized_box_iou

LAYERS, QUERIES, CLASSES, MOST = 2, 7, 3, 5
COUNTS = (3, 0, 5, 1)
EOS = 0.1


def main() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (LAYERS, len(COUNTS), QUERIES, CLASSES + 1)).astype(np.float32)
    boxes = rng.uniform(0.1, 0.6, (LAYERS, len(COUNTS), QUERIES, 4)).astype(np.float32)
    truth = np.zeros((len(COUNTS), MOST, 8), np.float32)
    truth[..., 4] = -1
    labels = []
    for row, count in enumerate(COUNTS):
        size = rng.uniform(0.05, 0.5, (count, 2))
        middle = rng.uniform(size / 2, 1 - size / 2)
        truth[row, :count, :4] = np.concatenate([middle, size], axis=1)
        truth[row, :count, 4] = rng.integers(0, CLASSES, count)
        labels.append(
            {
                "class_labels": torch.tensor(truth[row, :count, 4].astype(np.int64)),
                "boxes": torch.tensor(truth[row, :count, :4]),
            }
        )
    config = DetrConfig(num_labels=CLASSES, eos_coefficient=EOS, auxiliary_loss=True)
    config.decoder_layers = LAYERS
    said = [torch.tensor(logits, requires_grad=True), torch.tensor(boxes, requires_grad=True)]
    found, parts, _ = ForObjectDetectionLoss(
        said[0][-1], labels, torch.device("cpu"), said[1][-1], config, said[0], said[1]
    )
    found.backward()
    pairs = (
        center_to_corners_format(torch.tensor(boxes[0, 0])),
        center_to_corners_format(torch.tensor(truth[2, :, :4])),
    )
    np.savez_compressed(
        Path(__file__).parent / "detection.npz",
        logits=logits,
        boxes=boxes,
        truth=truth,
        loss=np.float32(found.item()),
        **{name: np.float32(parts[name].item()) for name in ("loss_ce", "loss_bbox", "loss_giou")},
        logits_gradient=said[0].grad.numpy(),
        boxes_gradient=said[1].grad.numpy(),
        giou=generalized_box_iou(*pairs).numpy(),
    )


if __name__ == "__main__":
    main()

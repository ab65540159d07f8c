"""Writes objectives.npz with torch: `python tests/golden/make_objectives.py`.

Losses by torch's own functions, and their gradients by its autograd: ALBEF's contrastive loss with
momentum targets and queues (Li et al. 2021), the supervised contrastive loss of two views (Khosla
et al. 2020), VICReg with the weights and divisors of its release (Bardes et al. 2022), VSE++'s
hardest triplets (Faghri et al. 2018), and a softened KL divergence (Hinton et al. 2015).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

ROWS, WIDTH, QUEUE = 16, 12, 32
RNG = np.random.default_rng(0)


def unit(*shape):
    x = RNG.standard_normal(shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


A, B, A_MOMENTUM, B_MOMENTUM = (unit(ROWS, WIDTH) for _ in range(4))
QUEUE_A, QUEUE_B = (unit(QUEUE, WIDTH) for _ in range(2))
LABELS = RNG.integers(0, 5, ROWS).astype(np.int32)


def albef(a, b, temperature):
    def one_way(own, averaged, others, queue):
        keys = torch.tensor(np.concatenate([others, queue]))
        guess = torch.softmax(torch.tensor(averaged) @ keys.T / temperature.detach(), dim=1)
        targets = 0.4 * guess + 0.6 * torch.eye(ROWS, len(keys))
        return F.cross_entropy(own @ keys.T / temperature, targets)

    ways = (
        one_way(a, A_MOMENTUM, B_MOMENTUM, QUEUE_B),
        one_way(b, B_MOMENTUM, A_MOMENTUM, QUEUE_A),
    )
    return sum(ways) / 2


def supervised(first, second):
    views, labels = torch.cat([first, second]), np.tile(LABELS, 2)
    anchors = []
    for i, label in enumerate(labels):
        others = np.arange(len(labels)) != i
        log_p = F.log_softmax(views[others] @ views[i] / 0.1, dim=0)
        anchors.append(-log_p[labels[others] == label].mean())
    return torch.stack(anchors).mean()


def vicreg(a, b):
    loss = 25 * F.mse_loss(a, b)
    for one in (a, b):
        moments = torch.cov(one.T)
        spread = torch.sqrt(torch.diagonal(moments) + 1e-4)
        loss = loss + 25 * torch.clamp(1 - spread, min=0).mean() / 2
        loss = loss + (moments - torch.diag(torch.diagonal(moments))).square().sum() / WIDTH
    return loss


def triplet(a, b):
    losses = []
    for anchors, others in ((a, b), (b, a)):
        for i, anchor in enumerate(anchors):
            near = torch.stack([anchor @ x for j, x in enumerate(others) if j != i]).max()
            losses.append(torch.clamp(0.2 + near - anchor @ others[i], min=0))
    return torch.stack(losses).mean()


def distillation(student):
    teacher = F.log_softmax(torch.tensor(6 * B) / 2, dim=1)
    guess = F.log_softmax(student / 2, dim=1)
    return 4 * F.kl_div(guess, teacher, log_target=True, reduction="batchmean")


CASES = {
    "albef": (albef, (A, B, np.float32(0.07))),
    "supervised": (supervised, (A, B)),
    "vicreg": (vicreg, (3 * A, 2 * B)),
    "triplet": (triplet, (A, B)),
    "distillation": (distillation, (5 * A,)),
}
names = ("a", "b", "a_momentum", "b_momentum", "queue_a", "queue_b", "labels")
given = (A, B, A_MOMENTUM, B_MOMENTUM, QUEUE_A, QUEUE_B, LABELS)
arrays = dict(zip(names, given, strict=True))
for name, (loss_of, inputs) in CASES.items():
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    loss = loss_of(*tensors)
    loss.backward()
    arrays[f"{name}_loss"] = loss.detach().numpy()
    for index, tensor in enumerate(tensors):
        arrays[f"{name}_gradient_{index}"] = tensor.grad.numpy()
np.savez_compressed(Path(__file__).with_name("objectives.npz"), **arrays)

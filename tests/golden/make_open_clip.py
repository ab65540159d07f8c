"""Writes open_clip.npz: `python tests/golden/make_open_clip.py`, with torch, open_clip_torch 3.3.0
and transformers 4.57.6.

OpenCLIP's `ClipLoss` and `SigLipLoss` in one process, and in two that gather each other's vectors
(`local_loss`, `gather_with_grad`; SigLIP's ring), whose losses and gradients are the mean over the
processes, as DistributedDataParallel takes it; transformers' CLIP and SigLIP models with
`return_loss`. Of each the vectors, the loss and its gradients.
"""

import importlib.util
import socket
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import distributed, multiprocessing
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

ROWS, WIDTH, PROCESSES = 16, 12, 2
CLIP, SIGLIP = (np.float32(20.0),), (np.float32(10.0), np.float32(-3.0))


def open_clip_losses():
    """Their file alone: the package wants torchvision."""
    folder = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    found = importlib.util.spec_from_file_location("losses", Path(folder) / "loss.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.ClipLoss, module.SigLipLoss


ClipLoss, SigLipLoss = open_clip_losses()
CASES = {"clip": (ClipLoss, CLIP), "siglip": (SigLipLoss, SIGLIP)}
SHARED = {"clip": {"local_loss": True, "gather_with_grad": True}, "siglip": {}}


def vectors():
    rng = np.random.default_rng(0)
    given = (rng.standard_normal((ROWS, WIDTH)) for _ in range(2))
    return [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in given]


def run(name, own, **options):
    """The loss and its gradients."""
    loss_of, scalars = CASES[name]
    tensors = [torch.tensor(x, requires_grad=True) for x in (*own, *scalars)]
    loss = loss_of(**options)(*tensors)
    loss.backward()
    return loss.detach().numpy(), [x.grad.numpy() for x in tensors]


def one_of(rank, port, folder):
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", address, rank=rank, world_size=PROCESSES)
    share = slice(rank * ROWS // PROCESSES, (rank + 1) * ROWS // PROCESSES)
    found = {}
    for name, options in SHARED.items():
        options = {**options, "rank": rank, "world_size": PROCESSES}
        loss, grads = run(name, [x[share] for x in vectors()], **options)
        found |= {f"{name}_loss": loss, **{f"{name}_{i}": x for i, x in enumerate(grads)}}
    np.savez(Path(folder) / f"{rank}.npz", **found)
    distributed.destroy_process_group()


def together():
    """Of two processes: the means of losses and of gradients, rows one after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(one_of, (port, folder), PROCESSES)
        parts = [dict(np.load(Path(folder) / f"{rank}.npz")) for rank in range(PROCESSES)]
    found = {}
    for name, (_, scalars) in CASES.items():
        found[f"{name}_shared_loss"] = np.mean([part[f"{name}_loss"] for part in parts])
        for index in range(2 + len(scalars)):
            grads = [part[f"{name}_{index}"] for part in parts]
            whole = np.concatenate(grads) / PROCESSES if index < 2 else np.mean(grads)
            found[f"{name}_shared_gradient_{index}"] = whole
    return found


def of_transformers():
    """The joint vectors of tiny models with random weights."""
    tower = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    settings = {
        "text_config": {**tower, "vocab_size": 32, "max_position_embeddings": 8},
        "vision_config": {**tower, "image_size": 8, "patch_size": 4},
    }
    torch.manual_seed(0)
    models = {
        "clip": CLIPModel(CLIPConfig(**settings, projection_dim=WIDTH)),
        "siglip": SiglipModel(SiglipConfig(**settings)),
    }
    ids = torch.randint(3, 30, (ROWS, 8))
    ids[:, -1] = 31
    pixels = torch.randn(ROWS, 3, 8, 8)
    found = {}
    for name, model in models.items():
        model.eval()
        with torch.no_grad():
            if name == "siglip":
                model.logit_scale.fill_(1.5)
                model.logit_bias.fill_(-2.0)
        output = model(input_ids=ids, pixel_values=pixels, return_loss=True)
        output.text_embeds.retain_grad()
        output.image_embeds.retain_grad()
        output.loss.backward()
        found |= {
            f"{name}_model_loss": output.loss.detach().numpy(),
            f"{name}_model_a": output.text_embeds.detach().numpy(),
            f"{name}_model_b": output.image_embeds.detach().numpy(),
            f"{name}_model_gradient_0": output.text_embeds.grad.numpy(),
            f"{name}_model_gradient_1": output.image_embeds.grad.numpy(),
            # Of the parameter, whose exponential is the multiplier.
            f"{name}_model_scale": model.logit_scale.detach().numpy(),
            f"{name}_model_gradient_2": model.logit_scale.grad.numpy(),
        }
        if name == "siglip":
            found[f"{name}_model_gradient_3"] = model.logit_bias.grad.numpy()[0]
    return found


def main():
    given = dict(zip("ab", vectors(), strict=True))
    arrays = {**given, **together(), **of_transformers()}
    for name in CASES:
        loss, grads = run(name, given.values())
        arrays[f"{name}_alone_loss"] = loss
        arrays |= {f"{name}_alone_gradient_{i}": x for i, x in enumerate(grads)}
    np.savez_compressed(Path(__file__).with_name("open_clip.npz"), **arrays)


if __name__ == "__main__":
    main()

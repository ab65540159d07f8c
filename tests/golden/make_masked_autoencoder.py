"""Writes masked_autoencoder.npz with torch: `python tests/golden/make_masked_autoencoder.py`.

The loss of transformers' ViTMAEForPreTraining, in float64, and its gradient by autograd for all of
its weights and for the pictures; the noise that permutes the patches is given.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

RNG = np.random.default_rng(0)
PIXELS = RNG.standard_normal((3, 3, 16, 16))
NOISE = RNG.uniform(size=(3, 16))

config = ViTMAEConfig(
    image_size=16,
    patch_size=4,
    hidden_size=12,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=20,
    decoder_hidden_size=8,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=32,
    layer_norm_eps=1e-6,
    mask_ratio=0.75,
)
arrays = {"pixels": PIXELS.transpose(0, 2, 3, 1).astype(np.float32), "noise": NOISE}
model = ViTMAEForPreTraining(config)
# A fresh model's are zeroed after they were made (transformers 4.57); released weights have them.
model.decoder.initialize_weights(model.vit.embeddings.num_patches)
model = model.double().eval()
for name, weight in model.named_parameters():
    if weight.requires_grad:
        values = RNG.standard_normal(weight.shape) * 0.4
        weight.data = torch.tensor(values.astype(np.float32)).double()
    arrays[f"weights/{name}"] = weight.detach().numpy().astype(np.float32)
for kind, normalise in (("plain", False), ("normalised", True)):
    model.config.norm_pix_loss = normalise
    model.zero_grad()
    pixels = torch.tensor(PIXELS.astype(np.float32)).double().requires_grad_()
    output = model(pixels, noise=torch.tensor(NOISE))
    output.loss.backward()
    arrays[f"{kind}_loss"] = output.loss.detach().numpy()
    arrays[f"{kind}_pixels_gradient"] = pixels.grad.permute(0, 2, 3, 1).numpy().astype(np.float32)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            arrays[f"{kind}_gradients/{name}"] = weight.grad.numpy().astype(np.float32)
np.savez_compressed(Path(__file__).with_name("masked_autoencoder.npz"), **arrays)

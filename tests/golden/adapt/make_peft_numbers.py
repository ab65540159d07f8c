"""Writes what PEFT's torch layers give on fixed inputs: `peft_layers.npz`, `peft_more_layers.npz`
(convolutions and embeddings), `peft_allocation.npz`, and the folders `peft_bert` (a tiny BERT),
`peft_vit` (a tiny ViT) and `peft_lora_*` (adapters of them as PEFT saves them).

    python tests/golden/adapt/make_peft_numbers.py

Needs torch, transformers and peft (0.21.2 wrote what is here); nothing of mmjax.
"""

import copy
import types
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

HERE = Path(__file__).parent
LAYERS = {
    "lora": peft.LoraConfig(r=3, lora_alpha=5, target_modules=["query"]),
    "rslora": peft.LoraConfig(r=3, lora_alpha=5, use_rslora=True, target_modules=["query"]),
    "dora": peft.LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["query"]),
    "ia3": peft.IA3Config(target_modules=["query"], feedforward_modules=[]),
    "ia3_feedforward": peft.IA3Config(target_modules=["query"], feedforward_modules=["query"]),
    "adalora": peft.AdaLoraConfig(
        init_r=3,
        target_r=2,
        lora_alpha=5,
        total_step=20,
        tinit=2,
        tfinal=4,
        target_modules=["query"],
    ),
}


MORE = {
    "convolution": (torch.nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 7, 6)),
    "convolution_1d": (torch.nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "convolution_of_one": (torch.nn.Conv2d(4, 6, 1), (2, 4, 5, 3)),
    "embedding": (torch.nn.Embedding(7, 6), (2, 5)),
}
"""Layers, and the shapes of what they are given."""


class Query(torch.nn.Module):
    def __init__(self, layer=None):
        super().__init__()
        self.query = layer or torch.nn.Linear(4, 6)
        self.config = {}

    def forward(self, x):
        return self.query(x)


class Loss(torch.nn.Module):
    def __init__(self, sizes):
        super().__init__()
        for index, (inputs, outputs) in enumerate(sizes):
            setattr(self, f"dense_{index}", torch.nn.Linear(inputs, outputs))
        self.config = {}

    def forward(self):
        return types.SimpleNamespace(loss=torch.zeros(()))


def drawn(generator, *shape):
    return torch.tensor(generator.standard_normal(shape), dtype=torch.float32)


def layers():
    found = {}
    for name, config in LAYERS.items():
        generator = np.random.default_rng(len(name))
        model = peft.get_peft_model(Query(), config)
        own = {k: p for k, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for parameter in own.values():
                parameter.copy_(1.0 + drawn(generator, *parameter.shape) * 0.5)
        x = drawn(generator, 2, 5, 4).requires_grad_()
        y = model(x)
        cotangent = drawn(generator, *y.shape)
        (y * cotangent).sum().backward()
        base = model.base_model.model.query.get_base_layer()
        found[f"{name}/kernel"] = base.weight.detach().numpy().copy()
        found[f"{name}/bias"] = base.bias.detach().numpy().copy()
        found |= {
            f"{name}/x": x.detach().numpy(),
            f"{name}/y": y.detach().numpy(),
            f"{name}/cotangent": cotangent.numpy(),
            f"{name}/grad/x": x.grad.numpy(),
        }
        for key, parameter in own.items():
            short = key.removeprefix("base_model.model.query.").replace(".default", "")
            found[f"{name}/own/{short}"] = parameter.detach().numpy().copy()
            found[f"{name}/grad/{short}"] = parameter.grad.numpy()
        merged = model.merge_and_unload().query
        found[f"{name}/merged/kernel"] = merged.weight.detach().numpy()
        found[f"{name}/merged/bias"] = merged.bias.detach().numpy()
    return found


def more_layers():
    found = {}
    for kind, (layer, shape) in MORE.items():
        for name, options in {kind: {}, f"{kind}_dora": {"use_dora": True}}.items():
            generator = np.random.default_rng(len(name))
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.copy_(drawn(generator, *parameter.shape) * 0.4)
            config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=["query"], **options)
            model = peft.get_peft_model(Query(copy.deepcopy(layer)), config)
            own = {k: p for k, p in model.named_parameters() if p.requires_grad}
            with torch.no_grad():
                for parameter in own.values():
                    parameter.copy_(0.7 + drawn(generator, *parameter.shape) * 0.4)
            whole = kind == "embedding"
            x = torch.tensor(generator.integers(0, 7, shape)) if whole else drawn(generator, *shape)
            x.requires_grad_(not whole)
            y = model(x)
            cotangent = drawn(generator, *y.shape)
            (y * cotangent).sum().backward()
            found[f"{name}/x"], found[f"{name}/y"] = x.detach().numpy(), y.detach().numpy()
            found[f"{name}/cotangent"] = cotangent.numpy()
            if not whole:
                found[f"{name}/grad/x"] = x.grad.numpy()
            for key, parameter in layer.named_parameters():
                found[f"{name}/{key}"] = parameter.detach().numpy().copy()
            for key, parameter in own.items():
                short = key.removeprefix("base_model.model.query.").replace(".default", "")
                found[f"{name}/own/{short}"] = parameter.detach().numpy().copy()
                found[f"{name}/grad/{short}"] = parameter.grad.numpy()
            merged = model.merge_and_unload().query
            found[f"{name}/merged"] = merged.weight.detach().numpy().copy()
    return found


def allocation():
    """SGD with given gradients on three layers; what is left after each step."""
    generator = np.random.default_rng(3)
    sizes = [(4, 6), (5, 3), (4, 4)]
    config = peft.AdaLoraConfig(
        init_r=4,
        target_r=2,
        total_step=24,
        tinit=4,
        tfinal=6,
        deltaT=3,
        beta1=0.8,
        beta2=0.7,
        orth_reg_weight=0.3,
        target_modules=[f"dense_{index}" for index in range(len(sizes))],
    )
    model = peft.get_peft_model(Loss(sizes), config)
    own = {
        k.removeprefix("base_model.model.").replace(".default", ""): p
        for k, p in model.named_parameters()
        if p.requires_grad
    }
    with torch.no_grad():
        for parameter in own.values():
            parameter.copy_(drawn(generator, *parameter.shape) * 0.5)
    found = {f"start/{key}": p.detach().numpy().copy() for key, p in own.items()}
    regular = model.base_model().loss
    found["orthogonality"] = (regular / config.orth_reg_weight).detach().numpy()
    optimizer = torch.optim.SGD(own.values(), lr=0.05)
    steps = {"budget": []}
    for step in range(config.total_step):
        optimizer.zero_grad()
        model.base_model().loss.backward()
        for key, parameter in own.items():
            gradient = drawn(generator, *parameter.shape) * (3.0 if "dense_1" in key else 1.0)
            steps.setdefault(f"gradient/{key}", []).append(gradient.numpy().copy())
            with torch.no_grad():
                more = 0 if parameter.grad is None else parameter.grad
                parameter.grad = gradient + more
        optimizer.step()
        budget, _ = model.base_model.rankallocator.budget_schedule(step)
        model.base_model.update_and_allocate(step)
        steps["budget"].append(budget)
        for key, parameter in own.items():
            steps.setdefault(f"after/{key}", []).append(parameter.detach().numpy().copy())
    return {**found, **{key: np.array(several) for key, several in steps.items()}}


def folders():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=10,
    )
    tokens = torch.tensor([[2, 5, 7, 9, 3], [2, 8, 3, 0, 0]])
    mask = (tokens > 0).long()
    found = {"tokens": tokens.numpy(), "mask": mask.numpy()}
    bert = transformers.BertModel(config).eval()
    bert.save_pretrained(HERE / "peft_bert")
    several = {
        "plain": {"target_modules": ["query", "value"]},
        "dora": {"target_modules": ["query", "dense"], "use_dora": True, "use_rslora": True},
    }
    for name, options in several.items():
        fresh = transformers.BertModel.from_pretrained(HERE / "peft_bert").eval()
        model = peft.get_peft_model(fresh, peft.LoraConfig(r=2, lora_alpha=6, **options)).eval()
        generator = np.random.default_rng(7)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.add_(drawn(generator, *parameter.shape) * 0.3)
            found[f"{name}/hidden"] = model(tokens, mask).last_hidden_state.numpy()
        model.save_pretrained(HERE / f"peft_lora_{name}")
        _tidy(f"peft_lora_{name}", "peft_bert")
    return found


def more_folders():
    """Embeddings of the tiny BERT, and patches of a tiny ViT, which are a convolution."""
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        image_size=8,
        patch_size=4,
    )
    vit = transformers.ViTModel(config, add_pooling_layer=False).eval()
    vit.save_pretrained(HERE / "peft_vit")
    pixels = drawn(np.random.default_rng(5), 2, 3, 8, 8)
    tokens = torch.tensor([[2, 5, 7, 9, 3], [2, 8, 3, 4, 1]])
    found = {"pixels": pixels.numpy(), "tokens": tokens.numpy()}
    words = ["query", "word_embeddings", "position_embeddings"]
    several = {
        "embeddings": ("peft_bert", transformers.BertModel, tokens, words, False),
        "patches": ("peft_vit", transformers.ViTModel, pixels, ["projection", "query"], False),
        "patches_dora": ("peft_vit", transformers.ViTModel, pixels, ["projection"], True),
    }
    for name, (folder, kind, given, targets, dora) in several.items():
        fresh = kind.from_pretrained(HERE / folder).eval()
        config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=targets, use_dora=dora)
        model = peft.get_peft_model(fresh, config).eval()
        generator = np.random.default_rng(7)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.add_(drawn(generator, *parameter.shape) * 0.3)
            found[f"{name}/hidden"] = model(given).last_hidden_state.numpy()
        model.save_pretrained(HERE / f"peft_lora_{name}")
        _tidy(f"peft_lora_{name}", folder)
    return found


def _tidy(name, base):
    (HERE / name / "README.md").unlink(missing_ok=True)
    settings = HERE / name / "adapter_config.json"
    settings.write_text(settings.read_text().replace(str(HERE / base), base))


if __name__ == "__main__":
    np.savez_compressed(HERE / "peft_layers.npz", **layers())
    np.savez_compressed(HERE / "peft_more_layers.npz", **more_layers())
    np.savez_compressed(HERE / "peft_more_folders.npz", **more_folders())
    np.savez_compressed(HERE / "peft_allocation.npz", **allocation())
    np.savez_compressed(HERE / "peft_folders.npz", **folders())

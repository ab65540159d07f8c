"""Writes what PEFT's torch layers give on fixed inputs: `peft_layers.npz`, `peft_allocation.npz`
and the folders `peft_bert` (a tiny BERT) and `peft_lora_*` (adapters of it as PEFT saves them).

    python tests/golden/adapt/make_peft_numbers.py

Needs torch, transformers and peft (0.21.2 wrote what is here); nothing of mmjax.
"""

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


class Query(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query = torch.nn.Linear(4, 6)
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
        (HERE / f"peft_lora_{name}" / "README.md").unlink(missing_ok=True)
        settings = HERE / f"peft_lora_{name}" / "adapter_config.json"
        settings.write_text(settings.read_text().replace(str(HERE / "peft_bert"), "peft_bert"))
    return found


if __name__ == "__main__":
    np.savez_compressed(HERE / "peft_layers.npz", **layers())
    np.savez_compressed(HERE / "peft_allocation.npz", **allocation())
    np.savez_compressed(HERE / "peft_folders.npz", **folders())

"""Makes the golden files from transformers' torch classes; imports nothing of mmjax.

    python tests/pretrained/make_goldens.py [NAME ...]

needs torch and transformers. Each `cases_*.py` beside this file has `CASES = {name: Case}`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import goldens  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Case:
    """One model of transformers, tiny, with settings that differ from its defaults."""

    cls: str
    """The torch class, whose config class is found from it."""
    config: dict[str, Any]
    inputs: Callable[[Any], dict[str, np.ndarray]]
    """`inputs(config)`: as the torch class takes them."""
    outputs: dict[str, str | Callable[[Any], Any]]
    """Our name of an output: theirs, or a function of their output object."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What load_pretrained is given besides."""
    gradients: tuple[str, ...] = ()
    """Weights whose gradient of sum(values * cotangent) is kept."""
    ours: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = lambda inputs: inputs
    """Their inputs in mmjax's layout."""
    call: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of the torch class' forward."""
    make_config: Callable[[dict[str, Any]], Any] | None = None
    """For config classes that are not built by keyword."""


def channels_last(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`pixel_values` [b c h w] or [b t c h w] with the channels at the end."""
    return {
        name: np.moveaxis(array, -3, -1) if name == "pixel_values" else array
        for name, array in inputs.items()
    }


def make(name: str, case: Case) -> goldens.Golden:
    import torch
    import transformers

    cls = getattr(transformers, case.cls)
    config = case.make_config(case.config) if case.make_config else cls.config_class(**case.config)
    config._attn_implementation = "eager"
    model = cls(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        from safetensors import safe_open

        model.save_pretrained(folder)
        with safe_open(str(Path(folder) / "model.safetensors"), framework="np") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in list(file.keys())}
        saved = json.loads((Path(folder) / "config.json").read_text())
        empty = goldens.Golden(name, saved, shapes, {}, {}, case.options, {})
        goldens.write_folder(empty, Path(folder))
        model, info = cls.from_pretrained(
            folder, attn_implementation="eager", output_loading_info=True
        )
    assert not info["missing_keys"], info
    assert not info["unexpected_keys"], info
    model.eval()
    inputs = case.inputs(config)
    given = {key: torch.from_numpy(np.array(array)) for key, array in inputs.items()}
    with torch.set_grad_enabled(bool(case.gradients)):
        output = model(**given, **case.call)
        found = {
            ours: output[theirs] if isinstance(theirs, str) else theirs(output)
            for ours, theirs in case.outputs.items()
        }
    gradients = {}
    if case.gradients:
        values = found["values"]
        (values * torch.from_numpy(goldens.cotangent(tuple(values.shape)))).sum().backward()
        weights = dict(model.named_parameters())
        gradients = {key: weights[key].grad.numpy() for key in case.gradients}
    return dataclasses.replace(
        empty,
        inputs=case.ours(inputs),
        outputs={key: value.detach().numpy() for key, value in found.items()},
        gradients=gradients,
    )


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for path in sorted(Path(__file__).parent.glob("cases_*.py")):
        found |= importlib.import_module(path.stem).CASES
    return found


def main(wanted: list[str]) -> None:
    known = cases()
    for name in wanted or known:
        goldens.save(make(name, known[name]))
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    # Cases import `Case` from this file by its name.
    sys.modules["make_goldens"] = sys.modules["__main__"]
    main(sys.argv[1:])

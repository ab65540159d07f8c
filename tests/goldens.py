"""Random weights by name, and the folders that golden cases are made into.

NumPy and safetensors alone: `pretrained/make_goldens.py`, which runs transformers' torch classes on
the same weights, imports this file and nothing of mmjax. A golden file holds the config, names and
shapes of the weights, inputs and what the torch class returned; the weights are made again from
their names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent / "golden" / "pretrained"


@dataclasses.dataclass(frozen=True)
class Golden:
    name: str
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    """Of every weight that the torch class saves."""
    inputs: dict[str, np.ndarray]
    """As mmjax takes them: channels last."""
    outputs: dict[str, np.ndarray]
    """`values`, `pooled`, `logits`, ... as `test_parity.py` looks them up."""
    options: dict[str, Any]
    """Of load_pretrained: `part`, settings of the module."""
    gradients: dict[str, np.ndarray]
    """Of sum(values * cotangent) by their weight's name; see `cotangent`."""

    def weights(self) -> dict[str, np.ndarray]:
        return {name: weight(name, shape) for name, shape in self.shapes.items()}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random float32 values that depend on the name alone, scaled so that signals stay near 1.

    RandomState's stream is frozen, so these never change with NumPy's version.
    """
    state = np.random.RandomState(zlib.crc32(name.encode()))
    values = state.standard_normal(size=shape)
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if last == "_float_tensor":
        return np.zeros(shape, np.float32)
    if last == "relative_position_index":
        return distance_index(math.isqrt(shape[0]))
    if name == "encoder.embed_positions.weight":
        return sinusoids(*shape)
    if last == "running_var" or "weight_g" in name or name.endswith("original0"):
        values = 0.5 + np.abs(values)
    elif len(shape) >= 2 and "embed" not in name.lower():
        values /= math.sqrt(max(1, math.prod(shape[1:])))
    elif last == "weight" and len(shape) == 1:
        values = 1.0 + 0.2 * values
    elif last == "logit_scale":
        values = 2.0 + 0.1 * values
    else:
        values *= 0.3
    return np.asarray(values, np.float32)


def distance_index(side: int) -> np.ndarray:
    """Swin's buffer: for each pair of a window's positions, which distance is theirs."""
    rows, columns = np.divmod(np.arange(side * side), side)
    across = rows[:, None] - rows + side - 1, columns[:, None] - columns + side - 1
    return across[0] * (2 * side - 1) + across[1]


def sinusoids(count: int, width: int) -> np.ndarray:
    """RoFormer's table, which Flax files and our modules do without: sines, then cosines."""
    angles = np.outer(np.arange(count), 10000.0 ** (-2 * np.arange(width // 2) / width))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """What the gradient cases multiply their output by."""
    return np.random.RandomState(7).standard_normal(size=shape).astype(np.float32)


def load(name: str) -> Golden:
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    groups: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}, "gradients": {}}
    for key, array in arrays.items():
        group, _, inner = key.partition("/")
        groups[group][inner] = array
    shapes = {key: tuple(shape) for key, shape in meta["shapes"].items()}
    return Golden(name, meta["config"], shapes, options=meta["options"], **groups)


def save(golden: Golden) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    meta = {"config": golden.config, "shapes": golden.shapes, "options": golden.options}
    arrays = {
        f"{group}/{key}": array
        for group in ("inputs", "outputs", "gradients")
        for key, array in getattr(golden, group).items()
    }
    np.savez_compressed(FOLDER / f"{golden.name}.npz", meta=np.array(json.dumps(meta)), **arrays)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def write_folder(golden: Golden, folder: Path) -> Path:
    """config.json and model.safetensors, as transformers would have saved them."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(golden.config), encoding="utf-8")
    save_file(golden.weights(), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def write_bert(folder: Path, words: Sequence[str]) -> Path:
    """`write_folder` of the case "bert", with a tokenizer of these words and BERT's own five."""
    write_folder(load("bert"), folder)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    settings = {"tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder

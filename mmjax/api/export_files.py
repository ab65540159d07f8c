"""What an export takes over from a run folder, and its programs and parameters as files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.data.config import modalities as modality_registry
from mmjax.data.pixels import Pixels
from mmjax.export import folder as folders
from mmjax.export.streaming import Steps
from mmjax.export.tracing import Traced


def keep_processors(run: Run, folder: Path, specs: dict[str, Any]) -> list[str]:
    """Processor files, and what packages they need beyond those of serving."""
    needs: set[str] = set()
    for name in specs:
        source, target = run.folder.processors / "modalities" / name, folder / name
        target.mkdir(parents=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        options = specs[name]
        tokenizer = options.get("tokenizer")
        if tokenizer is not None and tokenizer not in _OWN_TOKENIZERS:
            # The folder that it came from is no part of what is exported.
            options["tokenizer"] = "saved"
            if not _kept(run, name, target):
                needs.add("transformers")
        catalogue = options.get("items")
        if isinstance(catalogue, dict) and "path" in catalogue:
            catalogue["path"] = Path(catalogue["path"]).name
        if options.get("processor") is not None:
            options["processor"] = "saved"
            if options["name"] != "audio" and Pixels.of(target) is None:
                needs.add("transformers")
    return sorted(needs)


_OWN_TOKENIZERS = ("wordpiece", "bpe", "characters", "subwords")


def _kept(run: Run, name: str, target: Path) -> bool:
    spec = run.config.data.modalities[name]
    loaded = modality_registry.build(spec).load(run.folder.processors / "modalities" / name)
    keep = getattr(loaded.tokenizer, "keep", None)
    return bool(keep is not None and keep(target))


def write_programs(folder: Path, programs: Sequence[Traced]) -> list[dict[str, Any]]:
    """A file a program; what the manifest lists of them."""
    (folder / folders.PROGRAMS).mkdir()
    listed = []
    for number, one in enumerate(programs):
        file = f"{folders.PROGRAMS}/{number}.bin"
        (folder / file).write_bytes(one.content)
        listed.append({"bucket": list(one.bucket), "size": one.size, "file": file})
    return listed


def write_steps(folder: Path, steps: Sequence[Steps]) -> list[dict[str, Any]]:
    """Two files a bucket; what the manifest lists of them."""
    listed = []
    for number, one in enumerate(steps):
        files = {}
        for name in ("begin", "proceed"):
            files[name] = f"{folders.PROGRAMS}/{name}-{number}.bin"
            (folder / files[name]).write_bytes(getattr(one, name))
        listed.append({"bucket": list(one.bucket), **files})
    return listed


def write_parameters(path: Path, kept: Mapping[str, np.ndarray]) -> None:
    """Arrays by path as safetensors."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in kept.items()}, str(path))

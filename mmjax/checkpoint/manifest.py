"""`MMJAX_MANIFEST.json`: what a checkpoint holds, and the digest of every part of it.

It is the last file of a checkpoint to be written. Orbax itself restores array data with flipped
bits without a word, so this is what tells a good checkpoint from a damaged one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from mmjax.checkpoint.digests import ALGORITHM, LeafRecord, architecture_hash
from mmjax.checkpoint.run_folder import json_hash
from mmjax.core.errors import CheckpointError
from mmjax.core.files import digest_file, read_json, write_json

NAME = "MMJAX_MANIFEST.json"
FORMAT = 1
LIBRARIES = ("mmjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class DamagedError(Exception):
    """A checkpoint is not what was saved; the text says which part."""


@functools.cache
def library_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclasses.dataclass(frozen=True)
class FileRecord:
    size: int
    digest: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One checkpoint. `files` are paths below its folder; `selection` is (metric, max or min)."""

    step: int
    leaves: Mapping[str, LeafRecord]
    files: Mapping[str, FileRecord]
    data_state: Mapping[str, Any]
    metrics: Mapping[str, float]
    extra: Mapping[str, Any]
    selection: tuple[str, str] | None = None
    config_hash: str = ""
    global_batch: int | None = None
    mesh: Mapping[str, int] | None = None
    processes: int = 1
    saved_at: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=library_versions)

    @property
    def architecture(self) -> str:
        return architecture_hash(self.leaves)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(record.size for record in self.files.values())

    def write(self, folder: Path) -> None:
        body = {
            "format": FORMAT,
            "algorithm": ALGORITHM,
            "step": self.step,
            "saved_at": self.saved_at,
            "config_hash": self.config_hash,
            "architecture": self.architecture,
            "versions": dict(self.versions),
            "mesh": None if self.mesh is None else dict(self.mesh),
            "processes": self.processes,
            "global_batch": self.global_batch,
            "selection": None if self.selection is None else list(self.selection),
            # JSON has no NaN; a metric that was not finite is null.
            "metrics": {k: v if math.isfinite(v) else None for k, v in self.metrics.items()},
            "data_state": self.data_state,
            "extra": self.extra,
            "leaves": {path: record.to_json() for path, record in self.leaves.items()},
            "files": {path: [record.size, record.digest] for path, record in self.files.items()},
        }
        write_json(folder / NAME, {**body, "digest": json_hash(body)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a checkpoint folder.

        Raises DamagedError if it is absent or altered, CheckpointError if a newer mmjax wrote it.
        """
        try:
            body = read_json(folder / NAME)
        except FileNotFoundError:
            raise DamagedError(f"{NAME} is missing") from None
        except ValueError as error:
            raise DamagedError(f"{NAME} is not JSON: {error}") from error
        if not isinstance(body, dict) or body.pop("digest", None) != json_hash(body):
            raise DamagedError(f"{NAME} does not match its own digest")
        if body["format"] > FORMAT:
            raise CheckpointError(
                606,
                f"the checkpoint has format {body['format']}, this mmjax reads up to {FORMAT}",
                where=str(folder),
                fix=f"it was written by {body.get('versions')}; update mmjax",
            )
        selection = body["selection"]
        return cls(
            step=body["step"],
            leaves={path: LeafRecord.from_json(one) for path, one in body["leaves"].items()},
            files={path: FileRecord(*one) for path, one in body["files"].items()},
            data_state=body["data_state"],
            metrics={k: math.nan if v is None else v for k, v in body["metrics"].items()},
            extra=body["extra"],
            selection=None if selection is None else (selection[0], selection[1]),
            config_hash=body["config_hash"],
            global_batch=body["global_batch"],
            mesh=body["mesh"],
            processes=body["processes"],
            saved_at=body["saved_at"],
            versions=body["versions"],
        )


def mesh_shape(leaves: Iterable[Any]) -> dict[str, int] | None:
    """The axes and sizes of the first named mesh among the arrays."""
    for leaf in leaves:
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, jax.sharding.NamedSharding):
            return dict(sharding.mesh.shape)
    return None


def list_files(folder: Path) -> list[str]:
    """Every file of a checkpoint but the manifest, sorted, relative to its folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if path.as_posix() != NAME)


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    paths = {name: folder / name for name in names}
    return {n: FileRecord(path.stat().st_size, digest_file(path)) for n, path in paths.items()}


def damaged_file(folder: Path, manifest: Manifest, *, sizes_only: bool = False) -> str | None:
    """What is wrong with the first file that is not as recorded, or None."""
    for name, record in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
            if size != record.size:
                return f"file {name} has {size} bytes, {record.size} were saved"
            if not sizes_only and digest_file(folder / name) != record.digest:
                return f"file {name} has other bytes than were saved"
        except FileNotFoundError:
            return f"file {name} is missing"
    return None

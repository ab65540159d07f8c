"""One checkpoint onto a target: is it the same architecture, does the mesh divide it, is it whole.

Every restored array is compared with the digests of what was saved before anyone sees it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.checkpoint import orbax_io
from mmjax.checkpoint.digests import LeafRecord, compare
from mmjax.checkpoint.layout import STATE
from mmjax.checkpoint.manifest import DamagedError, Manifest, damaged_file
from mmjax.checkpoint.trees import below, flatten, is_key, raw_target
from mmjax.core.errors import CheckpointError, TransientError, nearest
from mmjax.core.typing import ArrayLike

MOST_LISTED = 20
CHUNK_BYTES = 1 << 28

_log = logging.getLogger(__name__)


def read_state(
    folder: Path,
    manifest: Manifest,
    target: Any,
    prefixes: Sequence[str] | None,
    spare: Collection[str] = (),
) -> Any:
    """The state of a step folder in the structure, dtypes and shardings of `target`.

    The leaves `spare` may be there or not. Raises CheckpointError if the architecture or the mesh
    does not fit, DamagedError if the bytes are not those that were saved, TransientError if they
    could not be read.
    """
    leaves, structure = flatten(target)
    require_same_architecture(folder, manifest, leaves, prefixes, spare)
    raw = {path: raw_target(leaf) for path, leaf in leaves.items()}
    for path, one in raw.items():
        require_divisible(path, one)
    with jax.transfer_guard("allow"):
        found = read_leaves(folder, manifest, raw)
        for path, record in manifest.leaves.items():
            if record.prng is not None and path in found and is_key(leaves[path]):
                found[path] = jax.random.wrap_key_data(jnp.asarray(found[path]), impl=record.prng)
    return jax.tree.unflatten(structure, [found[path] for path in leaves])


def read_leaves(
    folder: Path, manifest: Manifest, targets: Mapping[str, Any]
) -> dict[str, ArrayLike]:
    """The raw arrays of some leaves, each checked against its digests."""
    try:
        wrong = damaged_file(folder, manifest, sizes_only=True)
        if wrong is not None:
            raise DamagedError(wrong)
        found = orbax_io.read(
            folder / STATE, targets, all_of_it=targets.keys() == manifest.leaves.keys()
        )
        unknown = False
        for path, value in found.items():
            answer = compare(manifest.leaves[path], value)
            if answer == "differs":
                wrong = damaged_file(folder, manifest)
                raise DamagedError(
                    f"leaf {path} differs from what was saved; {wrong or 'files ok'}"
                )
            unknown = unknown or answer == "unknown"
        # Shards laid out anew over several processes: no process can hash a saved shard alone.
        wrong = damaged_file(folder, manifest) if unknown else None
    except DamagedError:
        raise
    except Exception as error:
        raise _blame(folder, manifest, error) from error
    if wrong is not None:
        raise DamagedError(wrong)
    return found


def _blame(folder: Path, manifest: Manifest, error: Exception) -> Exception:
    """Damage if a file is not as it was saved; otherwise the checkpoint is not to blame."""
    try:
        wrong = damaged_file(folder, manifest)
    except OSError as unreadable:
        return TransientError(612, f"checkpoint not readable: {unreadable}", where=str(folder))
    if wrong is not None:
        return DamagedError(f"{wrong} ({_short(error)})")
    return CheckpointError(
        612,
        f"the checkpoint's files are as saved, but reading them failed: {_short(error)}",
        where=str(folder),
        fix="likely memory or a library version; the versions it was saved with are "
        f"{dict(manifest.versions)}",
    )


def verify_on_disk(
    folder: Path, records: Mapping[str, LeafRecord], share: slice = slice(None)
) -> None:
    """Reads leaves back, a few hundred megabytes at a time; raises DamagedError naming a leaf.

    `share` picks this process's part of the leaves.
    """
    for chunk in _chunks({path: records[path] for path in sorted(records)[share]}):
        targets = {path: hollow(record) for path, record in chunk.items()}
        found = orbax_io.read(folder, targets, all_of_it=chunk.keys() == records.keys())
        for path, value in found.items():
            if compare(chunk[path], value) != "same":
                raise DamagedError(f"leaf {path} was not written as it was")


def hollow(record: LeafRecord) -> np.ndarray:
    """An array of a leaf's shape and dtype without its memory, as a target for NumPy arrays."""
    return np.broadcast_to(np.zeros((), jnp.dtype(record.dtype)), record.shape)


def _chunks(records: Mapping[str, LeafRecord]) -> Iterator[dict[str, LeafRecord]]:
    chunk: dict[str, LeafRecord] = {}
    size = 0
    for path, record in records.items():
        if chunk and size + record.nbytes > CHUNK_BYTES:
            yield chunk
            chunk, size = {}, 0
        chunk[path] = record
        size += record.nbytes
    if chunk:
        yield chunk


def require_same_architecture(
    folder: Path,
    manifest: Manifest,
    leaves: Mapping[str, Any],
    prefixes: Sequence[str] | None,
    spare: Collection[str] = (),
) -> None:
    """Raises one CheckpointError with all missing, unexpected and mis-shaped paths."""
    saved = {p: record for p, record in manifest.leaves.items() if below(p, prefixes)}
    missing = [path for path in leaves if path not in saved]
    unexpected = [path for path in saved if path not in leaves and path not in spare]
    misshapen = [
        f"{path} (saved {saved[path]}, wanted {_describe(leaf)})"
        for path, leaf in leaves.items()
        if path in saved and not _fits(saved[path], leaf)
    ]
    if not (missing or unexpected or misshapen):
        return
    parts = [
        _listed("missing from the checkpoint", missing),
        _listed("in the checkpoint only", unexpected),
        _listed("of another shape or dtype", misshapen),
    ]
    fix = "build the model from the run's own config.json"
    if missing and unexpected:
        fix = f"for '{missing[0]}' {nearest(missing[0], unexpected)}; or {fix}"
    elif unexpected and prefixes is None:
        fix = f"{fix}, or restore a part by prefixes=('params',)"
    raise CheckpointError(
        604,
        f"step {manifest.step} holds another architecture: {'; '.join(filter(None, parts))}",
        where=str(folder),
        fix=fix,
    )


def _listed(title: str, paths: Sequence[str]) -> str:
    if not paths:
        return ""
    more = ", ..." if len(paths) > MOST_LISTED else ""
    return f"{len(paths)} {title}: {', '.join(paths[:MOST_LISTED])}{more}"


def _fits(record: LeafRecord, leaf: Any) -> bool:
    if is_key(leaf) != (record.prng is not None):
        return False
    if record.prng is not None:
        dtype = jax.eval_shape(lambda: jax.random.key(0, impl=record.prng)).dtype
        if dtype != leaf.dtype:
            return False
    raw = raw_target(leaf)
    return tuple(raw.shape) == record.shape and raw.dtype.name == record.dtype


def _describe(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def require_divisible(path: str, target: Any) -> None:
    """Raises CheckpointError naming leaf, axis and size if a mesh axis does not divide it."""
    sharding = getattr(target, "sharding", None)
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return
    for dimension, axes in enumerate(sharding.spec):
        names = (axes,) if isinstance(axes, str) else axes if isinstance(axes, tuple) else ()
        parts = math.prod(sharding.mesh.shape[name] for name in names)
        size = target.shape[dimension]
        if size % parts:
            valid = [n for n in range(1, min(size, 4096) + 1) if size % n == 0]
            raise CheckpointError(
                607,
                f"mesh axis '{'+'.join(names)}' of size {parts} does not divide dimension "
                f"{dimension} of '{path}', which has size {size}",
                fix=f"sizes that do: {', '.join(map(str, valid))}",
            )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."

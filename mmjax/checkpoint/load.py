"""Arrays of a checkpoint without a target or a model: for evaluation, export and inspection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mmjax.checkpoint.catalog import Catalog
from mmjax.checkpoint.digests import LeafRecord
from mmjax.checkpoint.manifest import Manifest
from mmjax.checkpoint.reading import hollow, read_leaves
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.checkpoint.trees import below, nest
from mmjax.core.errors import CheckpointError


def load_params(folder: str | Path, step: int | str = "best") -> dict[str, Any]:
    """The parameters of a checkpoint as nested dictionaries of NumPy arrays."""
    return load_arrays(folder, step, prefixes=("params",))["params"]


def load_arrays(
    folder: str | Path, step: int | str = "best", *, prefixes: Sequence[str] | None = None
) -> dict[str, Any]:
    """The arrays at or below `prefixes` (all if None) as nested dictionaries of NumPy arrays.

    `folder` is a run or its `checkpoints`. Typed random keys come as their uint32 words. Every
    array is verified; a damaged step is passed over with an error in the log, and not renamed.
    `ema` has those of `params`, where they were asked for too, that are not trained and so have no
    average of their own.
    """

    def read(where: Path, manifest: Manifest) -> dict[str, Any]:
        records = {p: r for p, r in manifest.leaves.items() if below(p, prefixes)}
        if not records:
            top = sorted({path.partition("/")[0] for path in manifest.leaves})
            raise CheckpointError(
                603,
                f"the checkpoint holds nothing below {list(prefixes or ())}",
                where=str(where),
                fix=f"it holds: {', '.join(top)}",
            )
        targets = {path: hollow(record) for path, record in records.items()}
        return nest(read_leaves(where, manifest, targets))

    found = _catalog(folder).first_whole(step, read)[0]
    if found.get("ema") and "params" in found:
        found["ema"] = _over(found["params"], found["ema"])
    return found


def _over(below: Any, above: Any) -> Any:
    """Nested dictionaries with what only `below` has added to those of `above`."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: _over(below.get(name), one) for name, one in above.items()}}


def load_leaves(
    folder: str | Path,
    step: int | str,
    choose: Callable[[Mapping[str, LeafRecord]], Mapping[str, jax.ShapeDtypeStruct]],
) -> tuple[dict[str, jax.Array], int]:
    """Some arrays of a checkpoint by path, each on the sharding of its target; and the step.

    `choose` is told what the checkpoint holds, and says the targets, of the same shape and dtype:
    a device reads what lies on it. Verified as `load_arrays`.
    """

    def read(where: Path, manifest: Manifest) -> dict[str, Any]:
        with jax.transfer_guard("allow"):
            return read_leaves(where, manifest, choose(manifest.leaves))

    found, manifest = _catalog(folder).first_whole(step, read)
    return found, manifest.step


def stored_leaves(folder: str | Path) -> Mapping[str, LeafRecord]:
    """What the newest checkpoint of a run holds, by path; no array is read.

    Raises CheckpointError if there is none.
    """
    catalog = _catalog(folder)
    newest = catalog.latest()
    if newest is None:
        raise catalog.nothing_left()
    return catalog.committed()[newest].leaves


def _catalog(folder: str | Path) -> Catalog:
    folder = Path(folder).absolute()
    inner = RunFolder(folder).checkpoints
    return Catalog(inner if inner.is_dir() else folder, selection=None, readonly=True)

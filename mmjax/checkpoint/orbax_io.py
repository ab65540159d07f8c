"""The one place that calls Orbax: named arrays to a folder, in the background, and back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from mmjax.checkpoint.trees import flatten, nest
from mmjax.core.typing import ArrayLike


def _handler() -> ocp.PyTreeCheckpointHandler:
    # Trained weights compress by 8 %, at three times the CPU time of a save and six of a restore.
    return ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False)


class Writer:
    """Writes one tree of arrays at a time in the background."""

    def __init__(self, timeout_s: float):
        logging.getLogger("absl").addFilter(_told_by_us)
        self._checkpointer = ocp.AsyncCheckpointer(
            _handler(),
            async_options=ocp.options.AsyncOptions(
                timeout_secs=max(1, int(timeout_s)), create_directories_asynchronously=False
            ),
        )

    def start(self, folder: Path, leaves: Mapping[str, ArrayLike]) -> None:
        """Returns when the arrays' bytes are safe from donation; `folder` must not exist."""
        # Orbax refuses arrays without elements; their shape in the manifest is all they have.
        some = {path: leaf for path, leaf in leaves.items() if leaf.size}
        self._checkpointer.save(epath.Path(folder), args=ocp.args.PyTreeSave(nest(some)))

    def wait(self) -> None:
        """Returns when the folder is whole under its name; raises what failed."""
        self._checkpointer.wait_until_finished()

    def close(self) -> None:
        self._checkpointer.close()


def read(folder: Path, targets: Mapping[str, Any], *, all_of_it: bool) -> dict[str, ArrayLike]:
    """The named arrays of a folder, each as its target.

    A `jax.ShapeDtypeStruct` with a sharding gives a jax.Array on it; a NumPy array gives a NumPy
    array. `all_of_it` says that the targets are all that the folder holds.
    """
    found = {path: _empty(target) for path, target in targets.items() if not target.size}
    tree = nest({path: target for path, target in targets.items() if target.size})
    if not tree:
        return found
    restored = _handler().restore(
        epath.Path(folder),
        args=ocp.args.PyTreeRestore(
            item=tree,
            restore_args=jax.tree.map(_restore_args, tree),
            partial_restore=not all_of_it,
        ),
    )
    found |= flatten(restored)[0]
    return {path: found[path] for path in targets}


def _empty(target: Any) -> ArrayLike:
    zeros = np.zeros(target.shape, target.dtype)
    return zeros if isinstance(target, np.ndarray) else jax.device_put(zeros, target.sharding)


def _restore_args(target: Any) -> ocp.RestoreArgs:
    if isinstance(target, np.ndarray):
        return ocp.RestoreArgs(restore_type=np.ndarray)
    return ocp.ArrayRestoreArgs(
        restore_type=jax.Array,
        sharding=target.sharding,
        global_shape=target.shape,
        dtype=target.dtype,
    )


def _told_by_us(record: logging.LogRecord) -> bool:
    """False for Orbax's tracebacks of a failed save, which we raise as one line."""
    message = record.getMessage()
    return not any(
        sign in message
        for sign in ("Handler Commit operations or the Commit", "_SignalingThread.run() raised")
    )

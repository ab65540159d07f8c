"""One save: digests of the state as it is, Orbax in the background, read back, announced."""

from __future__ import annotations

import dataclasses
import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mmjax.checkpoint import layout, processes
from mmjax.checkpoint.catalog import Catalog
from mmjax.checkpoint.digests import LeafRecord, digest_tree, merge
from mmjax.checkpoint.manifest import FileRecord, Manifest, digest_files, list_files, mesh_shape
from mmjax.checkpoint.orbax_io import Writer
from mmjax.checkpoint.reading import verify_on_disk
from mmjax.checkpoint.trees import flatten, to_raw
from mmjax.core.errors import CheckpointError, MMJaxError
from mmjax.core.failpoints import failpoint

SPACE = 1.2
"""Free disk space that a save asks for, in sizes of a checkpoint."""

_FULL = ("No space left", "RESOURCE_EXHAUSTED", "quota exceeded")

_log = logging.getLogger(__name__)


class Saver:
    """Saves one state at a time.

    `announced` is called in the background after each commit, before any process is told.
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        verify: bool,
        timeout_s: float,
        announced: Callable[[Manifest], None],
    ):
        self.catalog = catalog
        self.folder = catalog.folder
        self.verify = verify
        self.timeout_s = timeout_s
        self._announced = announced
        self._exchange = processes.Exchange(self.folder / layout.EXCHANGE, timeout_s)
        self._writer: Writer | None = None
        self._thread: threading.Thread | None = None
        self._failure: MMJaxError | None = None

    def start(self, step: int, state: Any, recorded: Mapping[str, Any]) -> None:
        """Returns when `state` may be donated; `recorded` are further fields of the manifest."""
        started = time.monotonic()
        target = layout.uncommitted(self.folder, step)
        try:
            with jax.transfer_guard("allow"):
                leaves, keys = to_raw(flatten(state)[0])
                records = self._agreed_records(step, leaves, keys)
                if processes.is_first():
                    layout.discard(self.folder, step)
                    target.mkdir(parents=True)
                processes.agree(True)
                if self._writer is None:
                    self._writer = Writer(self.timeout_s)
                self._writer.start(target / layout.STATE, leaves)
        except Exception as error:
            raise self._failed(step, error) from error
        failpoint("save-started")
        manifest = Manifest(
            step=step,
            leaves=records,
            files={},
            mesh=mesh_shape(leaves.values()),
            processes=jax.process_count(),
            **recorded,
        )
        self._thread = threading.Thread(
            target=self._finish, args=(manifest, self._writer, started), name=f"checkpoint-{step}"
        )
        self._thread.start()

    def wait(self) -> None:
        """Returns when the last save is announced; raises what it failed of."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self.check_errors()

    def check_errors(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def close(self) -> None:
        try:
            self.wait()
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _agreed_records(
        self, step: int, leaves: Mapping[str, Any], keys: Mapping[str, str]
    ) -> dict[str, LeafRecord]:
        """The records of all processes; if one refuses, every one raises."""
        refusal: MMJaxError | None = None
        records: dict[str, LeafRecord] = {}
        try:
            if processes.is_first():
                layout.require_space(self.folder, int(SPACE * self._size(leaves)))
            records = digest_tree(leaves, keys)
        except MMJaxError as error:
            refusal = error
        parts = self._from_all(
            f"{step}-digests", refusal, {path: one.to_json() for path, one in records.items()}
        )
        if len(parts) == 1:
            return records
        return merge([{p: LeafRecord.from_json(one) for p, one in part.items()} for part in parts])

    def _size(self, leaves: Mapping[str, Any]) -> int:
        found = self.catalog.committed()
        return found[max(found)].nbytes if found else sum(one.nbytes for one in leaves.values())

    def _from_all(self, name: str, failure: Exception | None, value: Any) -> list[Any]:
        """Every process's value; raises on all of them if one failed."""
        message = None if failure is None else f"{type(failure).__name__}: {failure}"
        everyone = [(None, value)]
        if jax.process_count() > 1:
            everyone = self._exchange(name, (message, value))
        if failure is not None:
            raise failure
        for process, (theirs, _) in enumerate(everyone):
            if theirs is not None:
                raise CheckpointError(608, f"process {process} failed: {theirs}")
        return [value for _, value in everyone]

    def _finish(self, manifest: Manifest, writer: Writer, started: float) -> None:
        """In the background: data written, read back, manifest written, step announced."""
        step = manifest.step
        try:
            with jax.transfer_guard("allow"):
                manifest = self._written(manifest, writer)
            if processes.is_first():
                manifest.write(layout.uncommitted(self.folder, step))
                layout.commit(self.folder, step)
            failpoint("after-commit")
            self.catalog.announce(manifest)
            self._announced(manifest)
            self._from_all(f"{step}-announced", None, None)
        except Exception as error:
            self._failure = self._failed(step, error)
            return
        seconds = time.monotonic() - started
        _log.info("saved step %d: %.1f MB in %.2f s", step, manifest.nbytes / 1e6, seconds)

    def _written(self, manifest: Manifest, writer: Writer) -> Manifest:
        """The manifest with its files, once they are on disk and read back equal to the state."""
        folder = layout.uncommitted(self.folder, manifest.step)
        share = slice(jax.process_index(), None, jax.process_count())
        failure: Exception | None = None
        files: dict[str, FileRecord] = {}
        try:
            writer.wait()
            failpoint("before-commit")
            if self.verify:
                verify_on_disk(folder / layout.STATE, manifest.leaves, share)
            files = digest_files(folder, list_files(folder)[share])
        except Exception as error:
            failure = error
        plain = {name: (one.size, one.digest) for name, one in files.items()}
        parts = self._from_all(f"{manifest.step}-written", failure, plain)
        merged = {name: FileRecord(*one) for part in parts for name, one in part.items()}
        return dataclasses.replace(manifest, files=dict(sorted(merged.items())))

    def _failed(self, step: int, error: Exception) -> MMJaxError:
        """The error to show for a failed save, whose half-made folder is removed."""
        if processes.is_first():
            layout.discard(self.folder, step)
        if isinstance(error, MMJaxError):
            return error
        text = " ".join(str(error).split())[:300]
        kept = ", ".join(map(str, self.catalog.committed())) or "none"
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if full or any(sign in text for sign in _FULL):
            return CheckpointError(
                609,
                f"step {step} was not saved, the disk is full; steps kept: {kept}",
                where=str(self.folder),
                fix="free space, then resume",
            )
        return CheckpointError(
            608,
            f"step {step} was not saved ({type(error).__name__}: {text}); steps kept: {kept}",
            where=str(self.folder),
            fix="see whether the disk can be written, then resume",
        )

"""Global batches in an order that depends on the seed alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch
from mmjax.core.typing import Int
from mmjax.data.collate import Collator, as_batch
from mmjax.data.order import InOrder, Mixed, Shuffled, training
from mmjax.data.sampling import Balanced
from mmjax.data.together import Together

Order = InOrder | Shuffled | Mixed | Together | Balanced


class Loader(Iterator[Batch]):
    """This process's part of the global batches `start`, `start` + 1, ...

    Batches are NumPy arrays on the host. Training goes on for ever: the rows are shuffled anew in
    each epoch, and a batch may hold the end of one and the beginning of the next. With `groups`,
    the number of the group of each row, a training batch holds whole groups (`Together`). With
    `classes`, the number of the class of each row, classes take turns (`Balanced`, by `power`).
    Evaluation takes the rows in order once. Places that a batch does not fill have `row_mask`
    False.

    Batch k is the same whatever `start`, the threads, the workers, and the number of processes,
    so the whole state is the number of the next step. An error of a row closes the loader.
    """

    def __init__(
        self,
        collator: Collator,
        rows: Int[np.ndarray, "n"],
        *,
        batch_size: int,
        fingerprint: str,
        start: int = 0,
        threads: int = 0,
        workers: int = 0,
        prefetch: int = 4,
        groups: Int[np.ndarray, "n"] | None = None,
        classes: Int[np.ndarray, "n"] | None = None,
        power: float = 0.0,
    ):
        check_processes(batch_size, collator.process_count)
        self.wait_seconds = 0.0
        """Seconds spent in `next`, waiting for data."""
        self._fingerprint = fingerprint
        self._next_step = start
        self._workers = workers
        # Shuffled and cut into global batches first, then shared among hosts by the collator: the
        # other way round the batches would depend on the number of hosts.
        order: Order = InOrder(rows, batch_size)
        if collator.seed is not None and groups is not None:
            order = Together(rows, groups, batch_size, collator.seed)
        elif collator.seed is not None and classes is not None:
            order = Balanced(rows, classes, batch_size, collator.seed, power=power)
        elif collator.seed is not None:
            order = training(collator.table, rows, batch_size, collator.seed)
        self._length = len(order)
        self._iterator = _iterator(order, collator, start, threads, workers, prefetch)

    def __next__(self) -> Batch:
        if self._iterator is None or self._next_step >= self._length:
            raise StopIteration
        began = time.perf_counter()
        try:
            fields = next(self._iterator)
        except BaseException:
            self.close()
            raise
        finally:
            self.wait_seconds += time.perf_counter() - began
        self._next_step += 1
        return as_batch(_owned(fields) if self._workers else fields)

    def state(self) -> dict[str, Any]:
        """JSON values: the step to start at for going on, and the data that it holds for."""
        return {"next_step": self._next_step, "fingerprint": self._fingerprint}

    def close(self) -> None:
        """Ends threads and workers; nothing comes after."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_processes(batch_size: int, process_count: int) -> None:
    """Raises ConfigError unless the processes can share a global batch evenly."""
    if batch_size < 1 or batch_size % process_count:
        below = batch_size // process_count * process_count
        valid = [size for size in (below, below + process_count) if size > 0]
        raise ConfigError(
            112,
            f"a global batch of {batch_size} rows does not divide among {process_count} processes",
            where="data.batch_size",
            fix=f"nearest: {', '.join(map(str, valid))}",
        )


def _owned(fields: Any) -> Any:
    """Copies of the workers' arrays, whose shared memory is then freed at once."""
    if isinstance(fields, dict):
        return {name: _owned(value) for name, value in fields.items()}
    return np.array(fields, subok=False)


def _iterator(
    order: Order,
    collator: Collator,
    start: int,
    threads: int,
    workers: int,
    prefetch: int,
) -> Any:
    import grain

    batches = grain.MapDataset.source(order).map_with_index(collator)[start:]
    buffer = max(prefetch, threads) if threads else 0
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffer)
    iterable = batches.to_iter_dataset(options)
    if workers:
        from absl import flags

        # Grain reads its flags in the workers; outside absl.app nobody has parsed them.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        iterable = iterable.mp_prefetch(
            grain.MultiprocessingOptions(
                num_workers=workers, per_worker_buffer_size=max(1, prefetch // workers)
            )
        )
    return iter(iterable)

"""One batch through the model, in the model's thread: each item gets its result or its error."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import MMJaxError
from mmjax.export.program import Prepared, Program, Result
from mmjax.serve.errors import ServeError

log = logging.getLogger(__name__)

FAILED = 814
"""The code of an item that the model failed on."""


def run_batch(program: Program, items: Sequence[Prepared]) -> list[Result | MMJaxError]:
    """The results of a batch in its order.

    If the model raises, halves of the batch go through it, so that only those fail that make it.
    """
    try:
        return [_checked(result) for result in _results(program, items)]
    except Exception as error:
        if len(items) > 1:
            half = len(items) // 2
            return run_batch(program, items[:half]) + run_batch(program, items[half:])
        if isinstance(error, MMJaxError):
            return [error]
        log.exception("the model failed on an item")
        return [ServeError(FAILED, "the model failed on this item")]


def _results(program: Program, items: Sequence[Prepared]) -> list[Result]:
    results = program.run(items)
    if len(results) != len(items):
        raise RuntimeError(f"{len(results)} results of {len(items)} items")
    return results


def _checked(result: Result) -> Result | MMJaxError:
    for name, array in result.arrays.items():
        if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
            log.error("output %s has NaN", name)
            return ServeError(815, f"output '{name}' is not finite")
    return result


def padding(program: Program, items: Sequence[Prepared]) -> tuple[int, int, int, int]:
    """Rows, rows after padding, tokens, tokens after padding of one batch."""
    rows = len(items)
    padded = next((size for size in program.batch_sizes if size >= rows), rows)
    return rows, padded, sum(item.size for item in items), padded * items[0].padded

"""xxh3-128 of every shard of every array, so that a flipped bit has nowhere to hide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import numpy as np
import xxhash

from mmjax.checkpoint.run_folder import json_hash
from mmjax.core.errors import CheckpointError
from mmjax.core.typing import ArrayLike

ALGORITHM = "xxh3-128"


@dataclasses.dataclass(frozen=True)
class LeafRecord:
    """What is known of one array: its global shape, and the digest of each distinct shard.

    `shards` maps the shard's place ("0:4,8:16", one range a dimension) to the digest of its bytes
    in C order. `prng` is the implementation if the words are those of typed random keys.
    """

    shape: tuple[int, ...]
    dtype: str
    shards: Mapping[str, str]
    prng: str | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * jax.numpy.dtype(self.dtype).itemsize

    def to_json(self) -> dict[str, Any]:
        found = {"shape": list(self.shape), "dtype": self.dtype, "shards": dict(self.shards)}
        return found if self.prng is None else {**found, "prng": self.prng}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LeafRecord:
        return cls(tuple(data["shape"]), data["dtype"], dict(data["shards"]), data.get("prng"))

    def __str__(self) -> str:
        kind = self.dtype if self.prng is None else f"key<{self.prng}>"
        return f"{kind}[{','.join(map(str, self.shape))}]"


def digest_array(array: np.ndarray) -> str:
    """The digest of an array's bytes in C order."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return xxhash.xxh3_128_hexdigest(flat.data)


def digest_tree(
    leaves: Mapping[str, ArrayLike], keys: Mapping[str, str] | None = None
) -> dict[str, LeafRecord]:
    """The record of every leaf, from the shards that this process holds.

    Raises CheckpointError if replicas of a shard differ; to know it, every replica is brought to
    the host. `keys` names the leaves that are the words of typed random keys.
    """
    for leaf in leaves.values():
        if isinstance(leaf, jax.Array):
            for shard in leaf.addressable_shards:
                shard.data.copy_to_host_async()
    return {path: _digest_leaf(path, leaf, (keys or {}).get(path)) for path, leaf in leaves.items()}


def _digest_leaf(path: str, leaf: ArrayLike, prng: str | None) -> LeafRecord:
    if not isinstance(leaf, jax.Array):
        whole = _place((slice(None),) * leaf.ndim, leaf.shape)
        return LeafRecord(leaf.shape, leaf.dtype.name, {whole: digest_array(leaf)}, prng)
    shards: dict[str, str] = {}
    for shard in leaf.addressable_shards:
        place = _place(shard.index, leaf.shape)
        digest = digest_array(np.asarray(shard.data))
        if shards.setdefault(place, digest) != digest:
            raise _diverged(path, place, f"device {shard.device.id}")
    return LeafRecord(leaf.shape, leaf.dtype.name, shards, prng)


def merge(parts: Sequence[Mapping[str, LeafRecord]]) -> dict[str, LeafRecord]:
    """The records of all processes as one; raises CheckpointError if replicas differ."""
    merged = dict(parts[0])
    for process, part in enumerate(parts[1:], start=1):
        if part.keys() != merged.keys():
            odd = sorted(part.keys() ^ merged.keys())[0]
            raise CheckpointError(610, f"process {process} disagrees on the leaf '{odd}'")
        for path, record in part.items():
            shards = dict(merged[path].shards)
            for place, digest in record.shards.items():
                if shards.setdefault(place, digest) != digest:
                    raise _diverged(path, place, f"process {process}")
            merged[path] = dataclasses.replace(merged[path], shards=shards)
    return merged


def compare(record: LeafRecord, value: ArrayLike) -> Literal["same", "differs", "unknown"]:
    """Whether `value` has the recorded bytes, on any sharding.

    "unknown" only if some recorded shard straddles shards of which this process lacks some.
    """
    if not isinstance(value, jax.Array):
        return _compare_whole(record, value)
    everywhere = value.sharding.devices_indices_map(value.shape)
    if record.shards.keys() <= {_place(index, value.shape) for index in everywhere.values()}:
        here = {_place(s.index, value.shape): s.data for s in value.addressable_shards}
        common = record.shards.keys() & here.keys()
        same = all(digest_array(np.asarray(here[p])) == record.shards[p] for p in common)
        return "same" if same else "differs"
    if value.is_fully_addressable:
        return _compare_whole(record, np.asarray(value))
    return "unknown"


def _compare_whole(record: LeafRecord, value: np.ndarray) -> Literal["same", "differs"]:
    if value.shape != record.shape or value.dtype.name != record.dtype:
        return "differs"
    for place, digest in record.shards.items():
        if digest_array(value[_slices(place)]) != digest:
            return "differs"
    return "same"


def architecture_hash(records: Mapping[str, Any]) -> str:
    """The hash of paths, shapes and dtypes; equal for any sharding of the same state."""
    return json_hash({path: [list(r.shape), str(r.dtype)] for path, r in records.items()})


def _place(index: Sequence[slice], shape: Sequence[int]) -> str:
    ranges = (one.indices(size) for one, size in zip(index, shape, strict=True))
    return ",".join(f"{start}:{stop}" for start, stop, _ in ranges)


def _slices(place: str) -> tuple[slice, ...]:
    ranges = (one.partition(":") for one in place.split(",")) if place else ()
    return tuple(slice(int(start), int(stop)) for start, _, stop in ranges)


def _diverged(path: str, place: str, who: str) -> CheckpointError:
    return CheckpointError(
        610,
        f"replicas of '{path}' [{place}] differ: {who} holds other bytes",
        fix="nothing was saved; resume from the last checkpoint and suspect that device",
    )

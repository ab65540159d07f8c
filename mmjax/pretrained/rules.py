"""What a weight of theirs is called and shaped, and what becomes of it here.

A family's table is a list of `Leaf`s, made by the functions below: one line a layer. Names are
those of transformers' torch classes; Flax files are read under those names too (`msgpack.py`).
Transforms are views wherever NumPy can, so that nothing is copied before it is placed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import einops
import numpy as np

Transform = Callable[[np.ndarray], np.ndarray]


def same(array: np.ndarray) -> np.ndarray:
    return array


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One of our arrays: where it comes from, and how to go there and back.

    `ours` is its path from the collection on ("params/pooler/kernel"); `layer_3` in it means entry
    3 of `layers` where layers are scanned. With `part`, it is made of the slice `start:stop` along
    `axis` of theirs, which several leaves then share.
    """

    theirs: str
    ours: str
    load: Transform = same
    save: Transform = same
    part: tuple[int, int] | None = None
    axis: int = 0

    def take(self, array: np.ndarray) -> np.ndarray:
        """Ours, from theirs."""
        if self.part is not None:
            array = array[(slice(None),) * self.axis + (slice(*self.part),)]
        return self.load(array)

    def shape_of_theirs(self, ours: Sequence[int]) -> tuple[int, ...]:
        """The shape that theirs (or the part of it) has where ours has this one."""
        return self.save(np.broadcast_to(np.zeros((), np.int8), tuple(ours))).shape


Table = list[Leaf]


def param(theirs: str, ours: str, load: Transform = same, save: Transform = same) -> Table:
    """One array; as it is unless told otherwise."""
    return [Leaf(theirs, f"params/{ours}", load, save)]


def reshaped(theirs: str, ours: str, shape: Sequence[int], back: Sequence[int]) -> Table:
    """One array in another shape; `shape` is ours and `back` theirs, either may hold one -1."""
    return param(theirs, ours, lambda w: w.reshape(shape), lambda w: w.reshape(back))


def dense(theirs: str, ours: str, *, bias: bool = True, transposed: bool = True) -> Table:
    """`nn.Linear` [out in]; `transposed=False` for GPT-2's Conv1D [in out]."""
    turn: Transform = np.transpose if transposed else same
    weight = param(f"{theirs}.weight", f"{ours}/kernel", turn, turn)
    return weight + (param(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def heads_in(
    theirs: str, ours: str, heads: int, *, bias: bool = True, transposed: bool = True
) -> Table:
    """A projection to heads: `nn.Linear` [k*h d] to a kernel [d k h]."""
    turn: Transform = np.transpose if transposed else same
    weight = param(
        f"{theirs}.weight",
        f"{ours}/kernel",
        lambda w: einops.rearrange(turn(w), "d (k h) -> d k h", k=heads),
        lambda w: turn(einops.rearrange(w, "d k h -> d (k h)")),
    )
    if not bias:
        return weight
    return weight + head_bias(f"{theirs}.bias", f"{ours}/bias", heads)


def head_bias(theirs: str, ours: str, heads: int) -> Table:
    """A bias [k*h] to [k h]."""
    return param(
        theirs,
        ours,
        lambda b: einops.rearrange(b, "(k h) -> k h", k=heads),
        lambda b: einops.rearrange(b, "k h -> (k h)"),
    )


def heads_out(
    theirs: str, ours: str, heads: int, *, bias: bool = True, transposed: bool = True
) -> Table:
    """The projection back from heads: `nn.Linear` [d k*h] to a kernel [k h d]."""
    turn: Transform = np.transpose if transposed else same
    weight = param(
        f"{theirs}.weight",
        f"{ours}/kernel",
        lambda w: einops.rearrange(turn(w), "(k h) d -> k h d", k=heads),
        lambda w: turn(einops.rearrange(w, "k h d -> (k h) d")),
    )
    return weight + (param(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def attention(
    theirs: str,
    ours: str,
    heads: int,
    *,
    names: Sequence[str] = ("query", "key", "value", "out"),
    bias: bool | Sequence[str] = True,
) -> Table:
    """An `nn.Attention` at `ours`; `names` are theirs of query, key, value and output below it.

    `bias` is True, False, or those of ("query", "key", "value", "out") that have one.
    """
    roles = ("query", "key", "value", "out")

    def has(role: str) -> bool:
        return bias if isinstance(bias, bool) else role in bias

    table = []
    for role, name in zip(roles, names, strict=True):
        make = heads_out if role == "out" else heads_in
        where = f"{theirs}.{name}" if theirs else name
        table += make(where, f"{ours}/{role}", heads, bias=has(role))
    return table


def parts(tables: Sequence[Table], sizes: Sequence[int], *, axis: int = 0) -> Table:
    """Tables that share their names: each takes the next of `sizes` along `axis` (fused QKV).

    Biases, with fewer axes, are split along their first.
    """
    found, start = [], 0
    for table, size in zip(tables, sizes, strict=True):
        for leaf in table:
            along = 0 if leaf.theirs.endswith("bias") else axis
            found.append(dataclasses.replace(leaf, part=(start, start + size), axis=along))
        start += size
    return found


def norm(theirs: str, ours: str, *, bias: bool = True) -> Table:
    """Layer, group or RMS normalisation."""
    table = param(f"{theirs}.weight", f"{ours}/scale")
    return table + (param(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def batch_norm(theirs: str, ours: str) -> Table:
    """Batch normalisation with its running statistics."""
    return [
        *norm(theirs, ours),
        Leaf(f"{theirs}.running_mean", f"batch_stats/{ours}/mean"),
        Leaf(f"{theirs}.running_var", f"batch_stats/{ours}/var"),
    ]


def embedding(theirs: str, ours: str) -> Table:
    """`nn.Embedding`."""
    return param(f"{theirs}.weight", f"{ours}/embedding")


def conv(theirs: str, ours: str, *, bias: bool = True) -> Table:
    """A convolution over any number of axes: [out in *k] to [*k in out]."""
    weight = param(
        f"{theirs}.weight",
        f"{ours}/kernel",
        lambda w: np.moveaxis(w, (0, 1), (-1, -2)),
        lambda w: np.moveaxis(w, (-1, -2), (0, 1)),
    )
    return weight + (param(f"{theirs}.bias", f"{ours}/bias") if bias else [])


def patches(theirs: str, ours: str, size: Sequence[int], *, bias: bool = True) -> Table:
    """A convolution whose stride is its kernel, as one matrix: [out in *k] to [*k*in out]."""
    count = math.prod(size)

    def load(w: np.ndarray) -> np.ndarray:
        return np.moveaxis(w, (0, 1), (-1, -2)).reshape(-1, w.shape[0])

    def save(w: np.ndarray) -> np.ndarray:
        whole = w.reshape(*size, w.shape[0] // count, w.shape[1])
        return np.moveaxis(whole, (-1, -2), (0, 1))

    table = param(f"{theirs}.weight", f"{ours}/kernel", load, save)
    return table + (param(f"{theirs}.bias", f"{ours}/bias") if bias else [])

"""Variants of one computation, timed side by side.

On a CPU the clock is the processor time of this process, which other programs on the machine do not
lengthen; elsewhere it is wall time. Rounds are interleaved: each runs every variant, starting with
another one each time, and two variants are compared within a round. Calls of a round are queued
one behind the other on an accelerator, as those of training are, and waited for at its end.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to compute something."""

    name: str
    start: Callable[[], Tree]
    """Begins the computation; what it returns may not be ready yet."""
    wait: Callable[[Tree], Any] = jax.block_until_ready
    compile_seconds: float | None = None
    temp_bytes: int | None = None
    tolerance: float | None = None
    """Largest error allowed, over the largest value of the array; None is by dtype."""
    dtype: str = "float32"

    def call(self) -> Tree:
        """The result, ready."""
        result = self.start()
        self.wait(result)
        return result

    def calls(self, times: int) -> None:
        """So many of them; on an accelerator they are queued."""
        each = jax.default_backend() == "cpu"
        for number in range(times):
            result = self.start()
            if each or number == times - 1:
                self.wait(result)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is computed by several variants at one size. `reference` is their result in float64."""

    size: str
    what: str
    variants: Sequence[Variant]
    reference: Tree
    flops: float | None = None
    """Of the formula; what a variant computes twice does not count."""
    bytes: float | None = None
    """Of the arguments and results once, the least that has to be moved."""
    examples: float | None = None
    """How many rows or tokens one call takes, for rates."""


TOLERANCES = {"float32": 2e-5, "bfloat16": 4e-2, "float16": 4e-3}
ROUNDED_PRODUCTS = {"gpu": 4e-3, "tpu": 4e-2}
"""Of float32 where its products are rounded by default: to TF32 on GPUs, to bfloat16 on TPUs."""


def tolerance(dtype: str) -> float:
    """The largest error of a variant over the array's largest value, on this platform."""
    rounded = ROUNDED_PRODUCTS.get(jax.default_backend(), 0.0) if dtype == "float32" else 0.0
    return max(TOLERANCES[dtype], rounded)


def clock() -> float:
    """Seconds: of the processor on a CPU, of the wall elsewhere."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def jax_variant(
    name: str, function: Callable[..., Tree], *arguments: Tree, **details: Any
) -> Variant:
    """Compiles `function` for these arguments; what that takes is noted."""
    arguments = jax.device_put(arguments)
    start = clock()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = clock() - start
    memory = compiled.memory_analysis()
    temp = getattr(memory, "temp_size_in_bytes", None)
    return Variant(
        name,
        lambda: compiled(*arguments),
        compile_seconds=seconds,
        temp_bytes=temp,
        **details,
    )


def with_gradient(function: Callable[..., Tree]) -> Callable[..., Tree]:
    """`function` and the gradient of <result, cotangent> to each of its arguments.

    The cotangent comes first. It is an argument, since sums of a constant would be computed when
    the program is compiled.
    """

    def both(cotangent: Tree, *arguments: Tree) -> Tree:
        result, pull = jax.vjp(function, *arguments)
        seed = jax.tree.map(lambda one, like: one.astype(like.dtype), cotangent, result)
        return result, pull(seed)

    return both


def in_float64(function: Callable[..., Tree], *arguments: Tree) -> Tree:
    """The result of `function` for these arguments in float64, on the CPU, as NumPy arrays."""

    def wide(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf.astype(np.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        arguments = jax.tree.map(wide, arguments)
        return jax.tree.map(np.asarray, jax.jit(function)(*arguments))


def to_numpy(tree: Tree) -> list[np.ndarray]:
    """The leaves in float64, of jax arrays or torch tensors."""

    def one(leaf: Any) -> np.ndarray:
        if hasattr(leaf, "detach"):
            leaf = leaf.detach().float().cpu().numpy()
        return np.asarray(leaf).astype(np.float64)

    return [one(leaf) for leaf in jax.tree.leaves(tree)]


def error(result: Tree, reference: Tree) -> float:
    """The largest difference of any array, over that array's largest value.

    An array that is zero but for rounding, as the gradient of the keys' bias is, counts by the
    largest value of all arrays; a small one by a hundredth of it at least.
    """
    ours, theirs = to_numpy(result), to_numpy(reference)
    if [one.shape for one in ours] != [one.shape for one in theirs]:
        raise SystemExit(f"{[x.shape for x in ours]} where {[x.shape for x in theirs]} was due")
    largest = max(abs(one).max(initial=0) for one in theirs) or 1.0

    def scale(one: np.ndarray) -> float:
        own = abs(one).max(initial=0)
        return largest if own < 1e-9 * largest else max(own, 1e-2 * largest)

    return max(
        float(abs(a - b).max(initial=0) / scale(b)) for a, b in zip(ours, theirs, strict=True)
    )


def check(case: Case) -> dict[str, float]:
    """The error of each variant; raises SystemExit where one is beyond its tolerance."""
    found = {}
    for one in case.variants:
        found[one.name] = error(one.call(), case.reference)
        most = tolerance(one.dtype) if one.tolerance is None else one.tolerance
        if not found[one.name] <= most:
            raise SystemExit(
                f"{one.name}, {case.what} at {case.size}: differs from float64 by "
                f"{found[one.name]:.1e}, allowed are {most:.1e}"
            )
    return found


def interleaved(
    variants: Sequence[Variant], rounds: int, least_seconds: float = 0.03
) -> list[list[float]]:
    """Seconds a call of each in each round, `[variant][round]`; short ones are repeated in it."""
    repeats = []
    for one in variants:
        one.call()
        start = clock()
        one.call()
        repeats.append(max(1, round(least_seconds / max(clock() - start, 1e-6))))
    times: list[list[float]] = [[] for _ in variants]
    for number in range(rounds):
        for place in range(len(variants)):
            which = (place + number) % len(variants)
            start = clock()
            variants[which].calls(repeats[which])
            times[which].append((clock() - start) / repeats[which])
    return times


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def measure(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Checks, then times; one record a variant, as JSON values.

    `faster_than` holds, for each other variant, the quartiles of its seconds over this one's.
    """
    errors = check(case)
    times = interleaved(case.variants, rounds)
    found = []
    for one, own in zip(case.variants, times, strict=True):
        low, middle, high = quartiles(own)
        ratios = {
            other.name: quartiles([b / a for a, b in zip(own, theirs, strict=True)])
            for other, theirs in zip(case.variants, times, strict=True)
            if other is not one
        }
        found.append(
            {
                "size": case.size,
                "what": case.what,
                "variant": one.name,
                "dtype": one.dtype,
                "seconds": middle,
                "seconds_quartiles": [low, high],
                "faster_than": {
                    name: {"median": mid, "quartiles": [below, above]}
                    for name, (below, mid, above) in ratios.items()
                },
                "gflops": None if case.flops is None else case.flops / middle / 1e9,
                "gbytes": None if case.bytes is None else case.bytes / middle / 1e9,
                "examples_per_second": None if case.examples is None else case.examples / middle,
                "error": errors[one.name],
                "compile_seconds": one.compile_seconds,
                "temp_bytes": one.temp_bytes,
            }
        )
    return found


def nbytes(*trees: Tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(trees))


def peaks(rounds: int = 7) -> dict[str, float]:
    """What the device does at best: GFLOP/s of square products, GB/s of an array read and written.

    Of random numbers, which some devices multiply slower than equal ones. The bfloat16 product
    accumulates in float32.
    """
    found = {}
    size, megabytes = (1024, 256) if jax.default_backend() == "cpu" else (8192, 2048)
    for dtype in ("float32", "bfloat16"):
        square = jax.random.normal(jax.random.key(0), (size, size), dtype)
        product = jax_variant(
            dtype, lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32), square, square
        )
        best = min(interleaved([product], rounds)[0])
        found[f"{dtype}_gflops"] = 2 * size**3 / best / 1e9
    # In place: pages that the system gives out anew would cost more than the copying.
    held = [jnp.zeros(megabytes * 2**20 // 4, jnp.float32)]
    moved = 2 * held[0].nbytes
    add = jax.jit(lambda x: x + 1.0, donate_argnums=0)

    def in_place() -> Tree:
        held[0] = add(held[0])
        return held[0]

    found["gbytes"] = moved / min(interleaved([Variant("add", in_place)], rounds)[0]) / 1e9
    return found

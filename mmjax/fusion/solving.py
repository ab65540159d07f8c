"""The weights of a weighted sum in closed form, for squared error."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal, overload

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.typing import Array, ArrayLike, Float, Shaped

Constraint = Literal["none", "sum_to_one", "simplex"]

_MOST_FACES = 12
"""Modalities whose 2^M - 1 faces of the simplex are all looked at."""


def solve_gram(
    gram: Float[Array, "modality modality"],
    cross: Float[Array, "modality"],
    *,
    constraint: Literal["none", "sum_to_one"] = "none",
    ridge: Float[Array, ""] | float = 0.0,
) -> Float[Array, "modality"]:
    """The w that minimises w' gram w - 2 w' cross + ridge |w|^2, under jit, in gram's precision.

    `gram` holds the sums over rows of <part_m, part_k>, `cross` those of <part_m, target>; sums
    over batches and hosts add up. `sum_to_one` keeps the weights on the plane where they sum to 1
    (the solution by a Lagrange multiplier). Where several w do equally well, it is the one nearest
    to 0, or, of those that sum to 1, to equal shares: so a modality that is nowhere present gets 0
    in the first case. Not to be differentiated: where eigenvalues are equal, the gradient of an
    eigendecomposition is not finite.
    """
    return _solve(jnp, gram, cross, constraint, ridge)


@overload
def solve_weights(
    parts: Mapping[str, Shaped[ArrayLike, "b ..."]],
    targets: Shaped[ArrayLike, "b ..."],
    *,
    present: Mapping[str, Shaped[ArrayLike, "b"]] | None = ...,
    constraint: Constraint = ...,
    ridge: float = ...,
) -> dict[str, float]: ...


@overload
def solve_weights(
    parts: Shaped[ArrayLike, "modality b ..."],
    targets: Shaped[ArrayLike, "b ..."],
    *,
    present: Shaped[ArrayLike, "modality b"] | None = ...,
    constraint: Constraint = ...,
    ridge: float = ...,
) -> Float[np.ndarray, "modality"]: ...


def solve_weights(
    parts: Any,
    targets: Any,
    *,
    present: Any = None,
    constraint: Constraint = "none",
    ridge: float = 0.0,
) -> Any:
    """The weights that minimise the sum over rows of |target - sum_m w_m part_m|^2.

    `parts` holds one array [b ...] a modality, of the shape of `targets`, by name or stacked; a
    part is 0 in the rows where `present` is False. `none` solves the normal equations and
    `sum_to_one` those with a Lagrange multiplier; `simplex` (positive, sum 1) takes the best of the
    solutions of all faces, which is exact. `ridge` is added to the diagonal. In float64 on the
    host; equally good weights as in `solve_gram`.

    By name, the result fits `weighted_sum(weights="fixed", values=...)`. Raises DataError for parts
    or targets that do not fit each other or are not finite where they are present, ConfigError for
    a setting that cannot be met.
    """
    if ridge < 0:
        raise ConfigError(109, f"ridge={ridge} is negative", fix="ridge=0 or more")
    if isinstance(parts, Mapping):
        names = list(parts)
        if present is not None and set(present) != set(names):
            raise DataError(
                540,
                f"parts of {', '.join(names)}, but present of {', '.join(present)}",
                fix="the same modalities in both",
            )
        here = None if present is None else [present[name] for name in names]
        arrays = [parts[name] for name in names]
    else:
        arrays = list(parts)
        names = [str(index) for index in range(len(arrays))]
        here = None if present is None else list(present)
    rows, target = _checked(names, arrays, here, targets)
    gram, cross = rows @ rows.T, rows @ target
    if constraint == "simplex":
        weights = _on_the_simplex(gram, cross, ridge)
    else:
        weights = _solve(np, gram, cross, constraint, ridge)
    return (
        dict(zip(names, weights.tolist(), strict=True)) if isinstance(parts, Mapping) else weights
    )


def _checked(
    names: list[str], arrays: list[Any], present: list[Any] | None, targets: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The parts as float64 [modality n], zeros where absent, and the targets as [n]."""
    target = np.asarray(targets, np.float64)
    if not arrays or not target.size:
        raise DataError(540, "no modality or no row to solve for", fix="at least one of each")
    if not np.isfinite(target).all():
        raise DataError(542, "targets are not finite", fix="leave out the rows without a target")
    rows = []
    for index, (name, array) in enumerate(zip(names, arrays, strict=True)):
        part = np.asarray(array, np.float64)
        if part.shape != target.shape:
            raise DataError(
                540,
                f"part '{name}' has shape {list(part.shape)}",
                fix=f"expected that of the targets, {list(target.shape)}",
            )
        if present is not None:
            here = np.asarray(present[index], bool)
            if here.shape != target.shape[:1]:
                raise DataError(
                    540,
                    f"present '{name}' has shape {list(here.shape)}",
                    fix=f"expected [{len(target)}]",
                )
            part = np.where(here.reshape(-1, *[1] * (part.ndim - 1)), part, 0.0)
        if not np.isfinite(part).all():
            raise DataError(
                542, f"part '{name}' is not finite", fix="mark the rows without it as absent"
            )
        rows.append(part.ravel())
    return np.stack(rows), target.ravel()


def _solve(xp: ModuleType, gram: Any, cross: Any, constraint: str, ridge: Any) -> Any:
    """`solve_gram` in NumPy or jax.numpy."""
    if constraint not in ("none", "sum_to_one"):
        fix = nearest(constraint, ("none", "sum_to_one"))
        raise ConfigError(109, f"constraint='{constraint}'", fix=fix)
    count = gram.shape[0]
    gram = gram + ridge * xp.eye(count, dtype=gram.dtype)
    if constraint == "none":
        return _least(xp, gram, cross)
    equal = xp.full(count, 1.0 / count, dtype=gram.dtype)
    along = xp.asarray(_sums_to_zero(count), dtype=gram.dtype)
    return equal + along @ _least(xp, along.T @ gram @ along, along.T @ (cross - gram @ equal))


def _least(xp: ModuleType, gram: Any, cross: Any) -> Any:
    """The shortest solution of gram w = cross, for a positive semidefinite matrix."""
    values, vectors = xp.linalg.eigh(gram)
    cutoff = xp.finfo(gram.dtype).eps * max(len(values), 1) * xp.max(values, initial=0)
    kept = values > cutoff
    return vectors @ (xp.where(kept, 1 / xp.where(kept, values, 1), 0) * (vectors.T @ cross))


def _sums_to_zero(count: int) -> np.ndarray:
    """An orthonormal basis [count, count - 1] of the vectors whose entries sum to 0."""
    return np.linalg.svd(np.ones((1, count)))[2][1:].T


def _on_the_simplex(gram: np.ndarray, cross: np.ndarray, ridge: float) -> np.ndarray:
    """The best of the solutions on every face that are positive.

    The optimum lies inside some face and solves the problem of that face's plane. Where that is
    not unique, a smaller face holds another that is as good.
    """
    count = len(cross)
    if count > _MOST_FACES:
        raise ConfigError(
            109,
            f"constraint='simplex' with {count} modalities",
            fix=f"at most {_MOST_FACES}, or constraint='sum_to_one'",
        )
    best, best_loss = np.full(count, 1.0 / count), np.inf
    damped = gram + ridge * np.eye(count)
    for size in range(count, 0, -1):
        for face in map(list, itertools.combinations(range(count), size)):
            found = _solve(np, damped[np.ix_(face, face)], cross[face], "sum_to_one", 0.0)
            if found.min() < -1e-12:
                continue
            weights = np.zeros(count)
            weights[face] = np.maximum(found, 0.0) / np.maximum(found, 0.0).sum()
            loss = weights @ damped @ weights - 2 * weights @ cross
            if loss < best_loss - 1e-12 * abs(best_loss if np.isfinite(best_loss) else 0.0):
                best, best_loss = weights, loss
    return best

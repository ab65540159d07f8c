"""Scaled dot-product attention: the one entry point, and its backends."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Array, Bool, Float
from mmjax.kernels import (
    attention_chunked,
    attention_cudnn,
    attention_segments,
    attention_tokamax,
    attention_xla,
)
from mmjax.kernels.attention_problem import (
    Backend,
    Operands,
    Platform,
    Problem,
    anything,
    problem_of,
)
from mmjax.kernels.platforms import platform_dependent

BACKENDS: dict[str, Backend] = {
    "xla": Backend(attention_xla.attend, anything),
    "chunked": Backend(attention_chunked.attend, attention_chunked.serves),
    "segments": Backend(attention_segments.attend, attention_segments.serves),
    "cudnn": Backend(attention_cudnn.attend, attention_cudnn.serves),
    "tokamax": Backend(attention_tokamax.attend, attention_tokamax.serves),
}
"""To add one: a file with its `attend` and `serves`, a line here, and one in `choose`."""

PLATFORMS: tuple[Platform, ...] = ("cpu", "cuda", "rocm", "tpu")

_CACHE = 2**20
"""Bytes of logits of one row and head from which on they leave a core's own cache on the way.

Measured on a core with 1 MiB of its own: 512 x 512 gains 1.24 forward and 1.08 with the backward
pass, 512 x 1500 1.7 and 1.2; 197 x 197 loses.
"""

Mask = Bool[Array, "#b #k #n m"]


def choose(problem: Problem, platform: Platform) -> str:
    """The name of the backend for a problem on a platform.

    On CPU and CUDA from measurements (`benchmarks/results`), on TPU by what is spared.
    """
    long = problem.logits_bytes >= _CACHE * problem.rows * problem.heads
    if platform == "cpu" and long and BACKENDS["chunked"].serves(problem):
        return "chunked"
    if platform == "cuda" and BACKENDS["cudnn"].serves(problem):
        return "segments" if attention_segments.beats_cudnn(problem) else "cudnn"
    if platform in ("cuda", "tpu") and attention_segments.pays(problem):
        return "segments" if BACKENDS["segments"].serves(problem) else "xla"
    return "xla"


def attention(
    queries: Float[Array, "b n k h"],
    keys: Float[Array, "b m k h"] | Sequence[Float[Array, "b _ k h"]],
    values: Float[Array, "b m k h"] | Sequence[Float[Array, "b _ k h"]],
    *,
    mask: Mask | Sequence[Bool[Array, "#b #k #n _"] | None] | None = None,
    bias: Float[Array, "#b #k #n m"] | None = None,
    scale: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
    return_weights: bool = False,
    backend: str | None = None,
) -> tuple[Float[Array, "b n k h"], Float[Array, "b k n m"] | None]:
    """softmax(Q K^T scale + bias) V (Vaswani et al. 2017, equation 1).

    `keys`, `values` and `mask` may be sequences of segments, such as the tokens of several
    modalities: one softmax runs over all of their keys, as if they stood behind each other.
    `mask` is True where a query may look; a query with no valid key gets exactly 0, where
    `jax.nn.dot_product_attention` would return the mean of the padding. The softmax is in float32.
    `scale` is 1 / sqrt(h) if None. Dropout is applied to the weights when a key is given.

    The second result are the weights (before dropout, 0 where masked) if `return_weights`, else
    None: not every backend has them at any time. `backend` is chosen by `choose` if None, for the
    platform that the program is lowered for. Raises ConfigError for a name that is not in
    `BACKENDS`, or one that does not serve what is asked.
    """
    segments = _segments(keys)
    masks = (None,) * len(segments) if mask is None else _segments(mask)
    operands = Operands(queries, segments, _segments(values), masks, bias, dropout_key)
    problem = problem_of(
        operands,
        scale=queries.shape[-1] ** -0.5 if scale is None else scale,
        dropout_rate=dropout_rate,
        weights=return_weights,
    )
    if backend is not None:
        return _named(backend, problem).compute(operands, problem)
    chosen = {platform: choose(problem, platform) for platform in PLATFORMS}
    compute: dict[str, Callable[[Operands], tuple[Array, Array | None]]] = {
        name: functools.partial(_compute, name, problem) for name in chosen.values()
    }
    default = chosen.pop("cpu")
    others = {platform: compute[name] for platform, name in chosen.items() if name != default}
    if not others:
        return compute[default](operands)
    return platform_dependent(operands, default=compute[default], **others)


def _compute(name: str, problem: Problem, operands: Operands) -> tuple[Array, Array | None]:
    return BACKENDS[name].compute(operands, problem)


def _named(name: str, problem: Problem) -> Backend:
    if name not in BACKENDS:
        raise ConfigError(109, f"backend={name!r} of attention", fix=nearest(name, BACKENDS))
    if not BACKENDS[name].serves(problem):
        able = [one for one, other in BACKENDS.items() if other.serves(problem)]
        raise ConfigError(
            109, f"backend={name!r} does not serve {problem}", fix=f"valid here: {', '.join(able)}"
        )
    return BACKENDS[name]


def _segments(one: Any) -> tuple[Any, ...]:
    return tuple(one) if isinstance(one, Sequence) else (one,)

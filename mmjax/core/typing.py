"""The dimension glossary, and the array types that signatures are written in.

Letters used in every shape comment and annotation:

    b batch    n tokens    m context tokens    t frames    h w c image    f mel bins
    d width    k heads     v vocabulary        e joint dimension         s audio samples
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Array = jax.Array
ArrayLike = jax.Array | np.ndarray
Dtype = Any
"""What `jnp.dtype` accepts; jax publishes no narrower type for it."""

__all__ = ["Array", "ArrayLike", "Bool", "Dtype", "Float", "Int", "Shaped"]

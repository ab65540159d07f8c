"""How much frozen embeddings know: a linear classifier on them, and their nearest neighbours."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import minimize
from scipy.special import log_softmax

from mmjax.api.embeddings import FUSED
from mmjax.api.nearest import nearest as nearest_vectors
from mmjax.api.zero_shot import TEMPLATES, modality_of_kind, prompt_embeddings, zero_shot
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.typing import Array, Float, Int, Shaped
from mmjax.metrics import classification

if TYPE_CHECKING:
    from mmjax.api.run import Run
    from mmjax.data.dataset import Dataset

Kind = Literal["linear", "knn", "zero_shot"]
L2 = tuple(float(value) for value in 10.0 ** np.arange(-6, 1.0))
"""The penalties that are tried unless told."""

_STEPS, _SMALL = 1000, 1e-5
"""L-BFGS ends after so many steps, or where no gradient is larger."""
_FEW = 2**25
"""Rows times inputs times classes of a problem that is solved on the host."""


@dataclasses.dataclass(frozen=True, eq=False)
class Linear:
    """Multinomial logistic regression; `classes` are its labels in order."""

    classes: Shaped[np.ndarray, "c"]
    weights: Float[np.ndarray, "d c"]
    bias: Float[np.ndarray, "c"]
    l2: float

    def probabilities(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Of each class."""
        logits = np.asarray(x, np.float64) @ self.weights + self.bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def fit_linear(
    x: Float[np.ndarray, "n d"], y: Shaped[np.ndarray, "n"], *, l2: float = 1e-3
) -> Linear:
    """Weights with the least mean cross-entropy + l2 / 2 |weights|^2; the bias is free.

    By L-BFGS, in float64 on the host where that is done before a program for the device would be
    compiled, and in float32 on the device otherwise. scikit-learn's `LogisticRegression` with
    C = 1 / (n l2). Features are standardised first, and the weights returned are for them as given,
    so the penalty is on the scale of standardised ones. Raises DataError for fewer than two
    classes.
    """
    rows, labels = _rows(x, y)
    classes, number = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(543, f"labels of {len(classes)} class", fix="give two classes or more")
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = 1.0 / np.where(deviation > 1e-12, deviation, 1.0)
    given = ((rows - mean) * scale).astype(np.float32)
    if given.size * len(classes) <= _FEW:
        weights, bias = _minimise_here(given, number, l2, len(classes))
    else:
        found = _minimise(given, number.astype(np.int32), jnp.float32(l2), len(classes))
        weights, bias = (np.asarray(one, np.float64) for one in jax.device_get(found))
    weights = weights * scale[:, None]
    return Linear(classes, weights, bias - mean @ weights, l2)


def _minimise_here(
    x: Float[np.ndarray, "n d"], y: Int[np.ndarray, "n"], l2: float, classes: int
) -> tuple[Float[np.ndarray, "d c"], Float[np.ndarray, "c"]]:
    rows, width = x.shape
    with_one = np.concatenate([x, np.ones((rows, 1))], axis=1, dtype=np.float64)
    penalty = np.full((width + 1, 1), l2)
    penalty[-1] = 0.0

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(width + 1, classes)
        logs = log_softmax(with_one @ parameters, axis=1)
        error = np.exp(logs)
        error[np.arange(rows), y] -= 1.0
        pulled = penalty * parameters
        value = 0.5 * (pulled * parameters).sum() - logs[np.arange(rows), y].mean()
        return value, (with_one.T @ error / rows + pulled).ravel()

    start = np.zeros((width + 1) * classes)
    options = {"maxiter": _STEPS, "gtol": _SMALL, "ftol": 0.0}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    whole = found.x.reshape(width + 1, classes)
    return whole[:-1], whole[-1]


@functools.partial(jax.jit, static_argnums=3)
def _minimise(
    x: Float[Array, "n d"], y: Int[Array, "n"], l2: Float[Array, ""], classes: int
) -> tuple[Float[Array, "d c"], Float[Array, "c"]]:
    def loss(parameters: tuple[Array, Array]) -> Array:
        weights, bias = parameters
        logits = jnp.matmul(x, weights, precision="highest") + bias
        error = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return error + 0.5 * l2 * jnp.sum(jnp.square(weights))

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry: tuple) -> tuple:
        parameters, state, _, count = carry
        value, gradient = value_and_grad(parameters, state=state)
        updates, state = optimizer.update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=loss
        )
        largest = optax.tree.norm(gradient, ord=jnp.inf)
        return optax.apply_updates(parameters, updates), state, largest, count + 1

    start = (jnp.zeros((x.shape[1], classes)), jnp.zeros(classes))
    carry = (start, optimizer.init(start), jnp.float32(jnp.inf), 0)
    return jax.lax.while_loop(lambda c: (c[2] > _SMALL) & (c[3] < _STEPS), step, carry)[0]


def linear_probe(
    train_x: Float[np.ndarray, "n d"],
    train_y: Shaped[np.ndarray, "n"],
    test_x: Float[np.ndarray, "m d"],
    test_y: Shaped[np.ndarray, "m"],
    *,
    l2: float | Sequence[float] = 1e-3,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, float]:
    """`mmjax.metrics.classification` of a linear classifier trained on frozen vectors, and `l2`.

    Of several `l2` the one with the best accuracy on `validation` (vectors, labels) is taken, the
    larger of equal ones. Labels are numbers or text; a test row of a class that was not in training
    is wrong. Raises DataError for rows that do not fit, ConfigError for several `l2` without
    validation rows.
    """
    tried = sorted(l2, reverse=True) if isinstance(l2, Sequence) else [l2]
    if not tried or min(tried) < 0 or (len(tried) > 1 and validation is None):
        raise ConfigError(106, f"l2 = {l2!r}", fix="give one of at least 0, or validation rows too")
    fitted = [fit_linear(train_x, train_y, l2=one) for one in tried]
    best = fitted[0]
    if validation is not None:
        scores = [_accuracy(one, *validation) for one in fitted]
        best = fitted[int(np.argmax(scores))]
    found = _metrics(best.probabilities(_rows(test_x, test_y)[0]), best.classes, test_y)
    return {**found, "l2": best.l2}


def knn_probe(
    train_x: Float[np.ndarray, "n d"],
    train_y: Shaped[np.ndarray, "n"],
    test_x: Float[np.ndarray, "m d"],
    test_y: Shaped[np.ndarray, "m"],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> dict[str, float]:
    """`mmjax.metrics.classification` of a vote among the k nearest training rows by cosine.

    A neighbour's vote is exp(similarity / temperature), as in Wu et al. 2018, "Unsupervised feature
    learning via non-parametric instance discrimination"; probabilities are the shares of votes.
    """
    if k < 1 or temperature <= 0:
        raise ConfigError(106, f"k = {k}, temperature = {temperature}", fix="give both above 0")
    known, labels = _rows(train_x, train_y)
    asked, _ = _rows(test_x, test_y)
    classes, number = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(543, f"labels of {len(classes)} class", fix="give two classes or more")
    votes = np.zeros((len(asked), len(classes)))
    for start in range(0, len(asked), 256):
        similarity, rows = nearest_vectors(asked[start : start + 256], known, k)
        # Relative to the nearest: shares stay as they are, and no vote overflows.
        weight = np.exp((similarity - similarity[:, :1]).astype(np.float64) / temperature)
        np.add.at(votes, (np.arange(start, start + len(rows))[:, None], number[rows]), weight)
    return _metrics(votes / votes.sum(axis=1, keepdims=True), classes, test_y)


def _rows(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = np.asarray(x, np.float64), np.asarray(y)
    if rows.ndim != 2 or labels.shape != (len(rows),) or not rows.size:
        raise DataError(
            540,
            f"vectors have shape {list(rows.shape)}, labels {list(labels.shape)}",
            fix="expected [n d] and [n]",
        )
    if not np.isfinite(rows).all():
        raise DataError(542, "vectors are not finite", fix="look for a diverged run")
    return rows, labels


def _accuracy(fitted: Linear, x: np.ndarray, y: np.ndarray) -> float:
    rows, labels = _rows(x, y)
    return float(np.mean(fitted.classes[fitted.probabilities(rows).argmax(axis=1)] == labels))


def _metrics(probabilities: np.ndarray, classes: np.ndarray, labels: Any) -> dict[str, float]:
    """Metrics over the classes of training and test; those never trained on have probability 0."""
    truth = np.asarray(labels)
    every = np.unique(np.concatenate([classes, truth]))
    spread = np.zeros((len(probabilities), len(every)))
    spread[:, np.searchsorted(every, classes)] = probabilities
    names = [str(one) for one in every]
    return classification(spread, np.searchsorted(every, truth), label_names=names)


def probe(
    run: Run,
    label: str,
    data: Any = None,
    *,
    root: str | None = None,
    kind: Kind = "linear",
    space: str | None = None,
    **options: Any,
) -> dict[str, float]:
    """A probe of the run's frozen vectors for a column, trained on `train`, measured on `test`.

    `data` needs both splits, as the run's own has; `space` is `fused` where the run has it, else
    its first modality. Rows without a label are left out. A linear probe's `l2` is chosen on the
    validation rows if there are any. `options` are those of `linear_probe` or `knn_probe`.

    Of kind "zero_shot" the column's own names are the classifier, written into prompts, and nothing
    is trained: `space` is the modality that they classify, the run's only one of pictures if None,
    and `options` are `templates` and `text`, as in `zero_shot.classify`.
    """
    probes: dict[str, Callable[..., dict[str, float]]] = {"linear": linear_probe, "knn": knn_probe}
    if kind not in (*probes, "zero_shot"):
        raise ConfigError(109, f"no probe '{kind}'", fix=nearest(kind, (*probes, "zero_shot")))
    dataset = run.dataset(data, root=root)
    dataset.table.column(label)
    if kind == "zero_shot":
        return _zero_shot(run, dataset, label, space, **options)
    train, test = (_labelled(run, dataset, split, label, space) for split in ("train", "test"))
    if kind == "linear" and "l2" not in options and len(dataset.splits.get("validation", ())):
        validation = _labelled(run, dataset, "validation", label, space)
        options = {"l2": L2, "validation": validation, **options}
    return probes[kind](*train, *test, **options)


def _zero_shot(
    run: Run,
    dataset: Dataset,
    label: str,
    space: str | None,
    *,
    templates: Sequence[str] = TEMPLATES,
    text: str | None = None,
) -> dict[str, float]:
    """Metrics of the names of a column, as prompts, on the rows of split `test`."""
    chosen = modality_of_kind(run, "image", space)
    vectors, labels = _labelled(run, dataset, "test", label, chosen)
    present = np.any(vectors != 0, axis=1)
    cells = dataset.table.column(label)
    names = np.unique([str(one) for one in cells if one is not None and str(one).strip()])
    classes = prompt_embeddings(run, names.tolist(), templates, modality=text)
    return _metrics(zero_shot(vectors[present], classes), names, labels[present])


def _labelled(
    run: Run, dataset: Dataset, split: str, label: str, space: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and labels of the rows of a split that have one."""
    rows = dataset.rows(split)
    cells = dataset.table.column(label)
    labels = [cells[row] for row in rows.tolist()]
    found = run.embed_dataset(dataset, split)
    name = space or (FUSED if FUSED in found else next(iter(run.config.data.modalities)))
    if name not in found or name == "ids":
        known = [one for one in found if one != "ids"]
        raise ConfigError(109, f"no embeddings '{name}'", fix=nearest(name, known))
    kept = [i for i, one in enumerate(labels) if one is not None and str(one).strip()]
    if not kept:
        raise DataError(
            543,
            f"no row of '{split}' has a '{label}'",
            where=dataset.table.name,
            fix="choose another column",
        )
    return found[name][kept], np.array([str(labels[i]) for i in kept])

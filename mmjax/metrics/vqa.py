"""Answers to questions about pictures, judged by those of several annotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import DataError
from mmjax.core.typing import Array, Float, Int
from mmjax.data.answer_text import commonest, leave_one_out, normalise_answer


def vqa(
    predictions: Sequence[str],
    answers: Sequence[str | Sequence[str]],
    *,
    types: Sequence[str] | None = None,
) -> dict[str, float]:
    """How well `predictions` answer, in float64; all answers are normalised before.

    `answers` holds, for each question, the answer of each annotator, or one answer.
    - `vqa_accuracy`: VQA's (Antol et al. 2015, Goyal et al. 2017): an answer is right by as much as
      a third of the number of annotators who gave it, at most 1, averaged over each annotator left
      out; see `answer_text.leave_one_out`. For a single annotator, whether it is their answer.
    - `accuracy`: the share of predictions that are the commonest answer (of several, the first).
    - both followed by `/<type>`, over the questions of each type, where `types` are given.

    The official code leaves all as it is where the annotators' answers are the same to the letter.
    Raises DataError where the lengths differ. Without questions all is NaN.
    """
    if len(predictions) != len(answers) or (types is not None and len(types) != len(answers)):
        counts = [len(predictions), len(answers), *([] if types is None else [len(types)])]
        raise DataError(540, f"{counts} predictions, answers and types", fix="one each a question")
    soft, exact = np.zeros(len(answers)), np.zeros(len(answers))
    for i, (said, given) in enumerate(zip(predictions, answers, strict=True)):
        given = [given] if isinstance(given, str) else given
        if not len(given):
            raise DataError(541, f"question {i} has no answer", fix="at least one annotator each")
        normal, said = [normalise_answer(one) for one in given], normalise_answer(said)
        soft[i] = leave_one_out(Counter(normal)[said], len(normal))
        exact[i] = commonest(normal) == said
    found = {"vqa_accuracy": _mean(soft), "accuracy": _mean(exact)}
    of = np.asarray([] if types is None else types, object)
    for kind in sorted(set(of)):
        found |= {
            f"vqa_accuracy/{kind}": _mean(soft[of == kind]),
            f"accuracy/{kind}": _mean(exact[of == kind]),
        }
    return found


def vqa_sums(
    predicted: Int[Array, "b"],
    counts: Float[Array, "b v"],
    annotators: Float[Array, "b"],
    common: Int[Array, "b"],
    types: Int[Array, "b"],
    rows: Float[Array, "b"],
    *,
    num_types: int,
) -> dict[str, Array]:
    """Float32 sums over the rows of one batch, for use inside jit.

    `predicted` are answers' ids, `counts` how many of the `annotators` gave each answer, `common`
    the commonest answer (below 0 where it is not in the vocabulary). `rows` says which count.
    """
    accuracy = accuracies(counts, annotators)
    soft = jnp.take_along_axis(accuracy, predicted[:, None], axis=1)[:, 0]
    of_type = jax.nn.one_hot(types, max(num_types, 1)) * rows[:, None]
    exact = (predicted == common).astype(jnp.float32)
    return {
        "vqa_accuracy": of_type.T @ soft,
        "accuracy": of_type.T @ exact,
        "upper_bound": jnp.sum(rows * accuracy.max(axis=1)),
        "weight": of_type.sum(axis=0),
    }


def accuracies(counts: Float[Array, "b v"], annotators: Float[Array, "b"]) -> Float[Array, "b v"]:
    """`answer_text.leave_one_out` of each answer of each row; 0 where there are no annotators."""
    number = jnp.maximum(annotators, 1.0)[:, None]
    enough = jnp.clip(number - 1, 1.0, 3.0)
    agree = counts * jnp.clip((counts - 1) / enough, 0.0, 1.0)
    differ = (number - counts) * jnp.minimum(counts / enough, 1.0)
    return jnp.where(number == 1, counts, (agree + differ) / number)


def vqa_from_sums(sums: Mapping[str, Any], type_names: Sequence[str]) -> dict[str, float]:
    """The metrics of `vqa`, and `upper_bound`, the `vqa_accuracy` of the best answers that there
    are in the vocabulary.
    """
    weight = np.asarray(sums["weight"], np.float64)
    total = weight.sum()
    found = {
        name: _ratio(np.sum(sums[name], dtype=np.float64), total)
        for name in ("vqa_accuracy", "accuracy", "upper_bound")
    }
    for i, kind in enumerate(type_names):
        found |= {
            f"{name}/{kind}": _ratio(float(sums[name][i]), weight[i])
            for name in ("vqa_accuracy", "accuracy")
        }
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")

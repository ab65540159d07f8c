"""Pipelines over a Hugging Face folder: features, and classes given as words."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.api.pretrained import load_pretrained
from mmjax.api.run import read_file
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Embeddings
from mmjax.core.typing import Float, Shaped

HYPOTHESIS = "This is a photo of {}."
"""The prompt of transformers' zero-shot pipelines."""
_LONGEST = 64
"""Words that prompts are padded to at most, as SigLIP was trained; CLIP's tokenizer says 77."""


class _OfFolder:
    """A loaded folder, and its module compiled."""

    def __init__(self, source: Any):
        self.encoder = load_pretrained(source)
        module = self.encoder.module
        self._apply: Callable[..., Any] = jax.jit(
            lambda variables, fields: module.apply(variables, **fields, train=False)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.encoder.source)!r})"

    def _run(self, fields: Mapping[str, Any]) -> Any:
        return self._apply(self.encoder.variables, dict(fields))


class Features(_OfFolder):
    """`feature-extraction` and `image-feature-extraction`: the last hidden states of one tower.

    A call gives float32 [1 n d], as transformers' pipeline does, [1 d] with `pool=True`; a list of
    inputs gives a list. Of a model with two towers it is the vector in the joint space, [1 e].
    """

    def __init__(self, source: Any, *, kind: str, pool: bool = False):
        super().__init__(source)
        self.kind, self.pool = kind, pool

    def __call__(self, inputs: Any, /, *, pool: bool | None = None) -> Any:
        if isinstance(inputs, (list, tuple)):
            return [self(one, pool=pool) for one in inputs]
        name = {"text": "text", "image": "images"}[self.kind]
        found = self._run(self.encoder.processor(**{name: _opened(inputs, self.kind)}))
        if isinstance(found, Embeddings):
            return np.asarray(next(iter(found.values.values())), np.float32)
        wanted = found.pooled if (self.pool if pool is None else pool) else found.values
        return np.asarray(wanted, np.float32)


class ZeroShot(_OfFolder):
    """`zero-shot-image-classification` by a model with two towers, such as CLIP or SigLIP.

    A call gives `[{"score", "label"}, ...]`, likeliest first: the softmax over the labels, or, for
    a model with a bias (SigLIP), each label's own sigmoid, as transformers has them.
    """

    def __init__(
        self,
        source: Any,
        *,
        kind: str = "image",
        candidate_labels: Sequence[str] = (),
        hypothesis_template: str = HYPOTHESIS,
        top_k: int | None = None,
    ):
        super().__init__(source)
        self.labels, self.template = tuple(candidate_labels), hypothesis_template
        self.top_k = top_k
        self._known: dict[tuple[str, ...], Shaped[np.ndarray, "c e"]] = {}

    def __call__(
        self,
        image: Any,
        *,
        candidate_labels: Sequence[str] = (),
        hypothesis_template: str | None = None,
        top_k: int | None = None,
    ) -> Any:
        labels = tuple(candidate_labels) or self.labels
        template = self.template if hypothesis_template is None else hypothesis_template
        if not labels or isinstance(candidate_labels, str) or template.count("{}") != 1:
            raise ConfigError(
                105,
                f"candidate_labels={labels!r}, hypothesis_template={template!r}",
                fix="candidate_labels=['cat', 'dog'], and {} once in the template",
            )
        if isinstance(image, (list, tuple)):
            return [
                self(one, candidate_labels=labels, hypothesis_template=template, top_k=top_k)
                for one in image
            ]
        prompts = tuple(template.replace("{}", label) for label in labels)
        if prompts not in self._known:
            self._known[prompts] = self.vectors_of(prompts)
        found = self._embeddings(self.encoder.processor(images=_opened(image, "image")))
        vector = np.asarray(next(iter(found.values.values())), np.float64)[0]
        logits = float(found.logit_scale) * (self._known[prompts] @ vector)
        if found.logit_bias is not None:
            scores = 1 / (1 + np.exp(-(logits + float(found.logit_bias))))
        else:
            powers = np.exp(logits - logits.max())
            scores = powers / powers.sum()
        order = np.argsort(-scores, kind="stable")[: top_k or self.top_k]
        return [{"score": float(scores[i]), "label": labels[i]} for i in order]

    def vectors_of(self, prompts: Sequence[str]) -> Float[np.ndarray, "c e"]:
        """What texts are in the joint space, as the model was trained to read them."""
        # SigLIP has no mask: it reads its prompts at the length that it was trained with.
        fixed = "siglip" in self.encoder.model_type
        options = {"padding": "max_length", "max_length": _LONGEST} if fixed else {}
        fields = self.encoder.processor(text=list(prompts), **options)
        if fixed:
            fields.pop("attention_mask", None)
        return np.asarray(next(iter(self._embeddings(fields).values.values())), np.float64)

    def _embeddings(self, fields: Mapping[str, Any]) -> Embeddings:
        found = self._run(fields)
        if not isinstance(found, Embeddings):
            what = f"'{self.encoder.model_type}' has no joint space of pictures and texts"
            known = ("clip", "siglip", "vision-text-dual-encoder")
            raise ConfigError(105, what, where=str(self.encoder.source), fix=nearest("", known))
        return found


def _opened(value: Any, kind: str) -> Any:
    """The bytes of a file that is given by its path."""
    is_path = kind == "image" and isinstance(value, (str, os.PathLike))
    return read_file(value) if is_path else value

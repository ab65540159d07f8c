"""A run that writes texts as one side of a conversation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mmjax.adapt import KEY
from mmjax.adapt.wrapping import adapted, with_adapters
from mmjax.api.conversing import OnText, Talker, Turn, spoken
from mmjax.api.run import Run, load_run
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.data.config import kind_of
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.spelling import spelled
from mmjax.generate.engine import generate
from mmjax.models.base import Fusing
from mmjax.parallel.sharding import put_batch
from mmjax.tasks.generation import Generation
from mmjax.train.evaluate import gather

_MEDIA = ("image", "audio", "video")


class RunTalker(Talker):
    """What was said is the text of `modality`, turn after turn with `between` between them.

    It should be as in the training data. With `retrieve`, so many training rows that are nearest
    to the turn, in the run's own embeddings of that text, stand before it: their text, and what was
    replied. Raises ConfigError for a run that writes no texts, or for one of several texts if none
    is named.
    """

    def __init__(
        self, run: Any, *, modality: str | None = None, between: str = " ", retrieve: int = 0
    ):
        self.run = run if isinstance(run, Run) else load_run(run)
        module = self.run.module
        where = str(self.run.folder.path)
        task = getattr(module, "task", None)
        if not isinstance(task, Generation) or not isinstance(module, Fusing):
            name = self.run.config.task.name
            raise ConfigError(
                109, f"the run's task is {name}, which writes no texts", where=where, fix="dialogue"
            )
        kinds = {name: kind_of(one) for name, one in self.run.config.data.modalities.items()}
        texts = [name for name, kind in kinds.items() if kind == "text"]
        chosen = modality or task.prompt or (texts[0] if len(texts) == 1 else "")
        if chosen not in texts:
            raise ConfigError(
                109,
                f"'{chosen}' is no text of the run" if chosen else "which text are the turns?",
                where=where,
                fix=f"modality=NAME; {nearest(chosen, texts)}",
            )
        self._modality, self._between, self._retrieve = chosen, between, retrieve
        self._task, self._decoder = task, task.reader()
        adapters = getattr(module, "adapters", ())
        if adapters:
            decoder = adapted(self._decoder.module, adapters)
            self._decoder = dataclasses.replace(self._decoder, module=decoder)
        # One of a kind: what else there is has no name in a conversation.
        self._named = {kind: name for name, kind in kinds.items() if kind in _MEDIA}
        self.media = tuple(self._named)
        self._seen: Any = None
        self._known: tuple[Dataset, np.ndarray, np.ndarray] | None = None

    def reply(
        self,
        turns: Sequence[Turn],
        media: Mapping[str, Any],
        on_text: OnText | None = None,
        **settings: Any,
    ) -> str:
        config = self._task.settings.replace(**{"num_return_sequences": 1, **settings})
        shown = {self._named[kind]: value for kind, value in media.items()}
        before = self._nearest(turns[-1].text) if self._retrieve else []
        text = self._between.join([*before, *(one.text for one in turns)])
        batch, variables = self._batch({self._modality: text, **shown})
        if self._seen is None:
            module = self.run.module
            self._seen = jax.jit(lambda v, b: module.apply(v, b, method=_seen))
        seen, prompt = jax.tree.map(lambda one: one[:1], self._seen(variables, batch))
        begin = np.array([self._task.begin], np.int32)
        mask = np.ones(begin.shape, bool)
        if prompt is not None:
            begin = np.concatenate([prompt.ids, begin], axis=1)
            mask = np.concatenate([prompt.mask, mask], axis=1)
        whole = variables["params"]
        whole = with_adapters(whole) if KEY in whole else whole
        parameters = {"params": whole["task"]["decoder"]}

        def run(on_tokens: Any) -> Any:
            return generate(
                self._decoder,
                parameters,
                begin,
                config,
                mask=mask,
                context=seen,
                on_tokens=on_tokens,
            )

        return spoken(run, self._spell, config, on_text)

    def _spell(self, ids: list[int]) -> str:
        return spelled(self._task.speller, ids)

    def _batch(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """A batch whose first row are the inputs, and the run's variables."""
        dataset = self.run.dataset(self.run.columns_of(inputs), batch_size=1)
        variables, _ = self.run._ready(dataset)
        (host,) = list(self.run._batches(dataset, ALL))[:1]
        batch = put_batch(host, self.run.mesh)
        if not np.asarray(gather(host, batch).row_mask)[0]:
            raise DataError(570, "nothing of the turn can be read", fix="say something")
        return batch, variables

    def _nearest(self, text: str) -> list[str]:
        """Texts and replies of the training rows that are nearest, the nearest last."""
        if self._known is None:
            dataset = self.run.dataset(labels=True)
            found = self.run.embed_dataset(dataset, "train")
            self._known = dataset, dataset.rows("train"), _unit(found[self._modality])
        dataset, rows, vectors = self._known
        asked = self.run.dataset(self.run.columns_of({self._modality: text}), batch_size=1)
        query = _unit(self.run.embed_dataset(asked)[self._modality])[0]
        order = np.argsort(-(vectors @ query), kind="stable")[: self._retrieve][::-1]
        texts = dataset.texts(rows[order])
        replies = texts[f"{self._task.target}/references"]
        pairs = zip(texts[self._modality], replies, strict=True)
        return [one for said, reply in pairs for one in (said or "", reply[0])]


def _seen(module: Any, batch: Any) -> Any:
    fused = module.fuse(module.encode(batch, train=False), train=False)
    return module.task.seen(fused, batch)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)

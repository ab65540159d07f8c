"""Configs for labels that are told by more than their own column: spans, answers and items.

A label whose cells are parts of a text next to them asks for token classification, answers of a
question to a context for extractive question answering, and the items of users for recommendation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjax.api import choosing
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.registry import Spec
from mmjax.data import schema
from mmjax.data.catalogue import name_of
from mmjax.data.config import DataConfig, SplitConfig
from mmjax.data.config import targets as target_registry
from mmjax.data.kinds import KINDS, Column, column_of, is_blank, sampled
from mmjax.data.modalities.base import Place
from mmjax.data.spans import read_spans
from mmjax.data.table import Table
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig

_BATCH = 32
_STEPS = 2_000
_LOOKED_AT = 200
_CHOICES_OF_A_USER = 3
"""So many rows has a user on average, at the least, where a table is taken for choices."""

QUESTIONS = ("question", "query")
CONTEXTS = ("context", "passage", "paragraph", "document", "article")
USERS = ("user", "user_id", "userid", "customer", "customer_id", "reader", "viewer")
ITEMS = ("item", "item_id", "itemid", "product", "product_id", "movie", "movie_id", "article_id")
TIMES = ("timestamp", "time", "date", "datetime", "when")


class Proposal(NamedTuple):
    """A config, and what was chosen for it, line by line."""

    config: Config
    lines: list[str]


class _No(Exception):
    """The table is not of the kind that was looked for, and why."""


def propose(
    table: Table,
    label: str,
    source: Spec,
    *,
    task: str | None = None,
    kinds: Mapping[str, str] | None = None,
) -> Proposal | None:
    """A config where the label is plainly spans, answers or items, or where `task` says so.

    None where it is neither; with the `task` of another kind of label, at once. Raises DataError
    where the table is not what a `task` that was named needs, ConfigError for unknown `kinds`.
    """
    if task is not None and task not in TASKS:
        return None
    if kinds and label in kinds and task is None:
        return None  # what the label is was said
    table.column(label)
    for name, found in TASKS.items():
        if task in (None, name):
            try:
                return found(table, label, source, dict(kinds or {}), task is not None)
            except _No as no:
                if task is not None:
                    raise DataError(
                        254, f"no {name} of the label '{label}': {no}", where=table.name
                    ) from no
    return None


def _spans(table: Table, label: str, source: Spec, kinds: dict[str, str], said: bool) -> Proposal:
    """Token classification, of the text that all spans lie in."""
    cells = table.column(label)
    rows = [row for row in sampled(len(table), _LOOKED_AT) if not is_blank(cells[row])]
    listed = [row for row in rows if isinstance(cells[row], (list, tuple)) or _is_json(cells[row])]
    if not rows or len(listed) < len(rows):
        raise _No('its cells are no lists of {"start", "end", "label"}')
    fits = [name for name in _texts(table, label, kinds) if _all_fit(table, label, name, listed)]
    if not fits:
        raise _No("there is no column of text in which all of its spans lie")
    text = fits[0]
    spans = [len(read_spans(cells[row], "", text=None)) for row in listed]
    if not any(spans):
        raise _No("its lists are empty")
    whole = sum(1 for cell in cells if is_blank(cell))
    options = {"missing": "none"} if whole else {}
    target = Spec("spans", column=label, text=text, most=_room(max(spans)), **options)
    lines = [
        f"label {label}: spans of the text '{text}', {np.mean(spans):.1f} a row",
        "task: token_classification of words, by a chain of tags",
    ]
    modalities = {"text": _read(text, _tokens(table, text))}
    return _proposal(
        table,
        label,
        source,
        kinds,
        {"spans": target},
        modalities,
        Spec("token_classification", crf=True, subwords="first", dropout=0.1),
        Spec("concat", width=128),
        "micro_f1",
        lines,
        group=text,
    )


def _answers(table: Table, label: str, source: Spec, kinds: dict[str, str], said: bool) -> Proposal:
    """Extractive question answering, of columns named as a question and its context."""
    question = _named(table, QUESTIONS, label, "a question")
    context = _named(table, CONTEXTS, label, "the text with the answers")
    target = Spec("answer_spans", column=label, also=(context,), find=True)
    setting = target_registry.build(target)
    cells, texts = table.column(label), table.column(context)
    rows = sampled(len(table), _LOOKED_AT)
    wrong: list[DataError] = []
    for row in rows:
        try:
            setting.check([cells[row], texts[row]], Place(table, row))
        except DataError as error:
            wrong.append(error)
    if wrong and (not said or len(wrong) == len(rows)):
        raise _No(f"{len(wrong)} of {len(rows)} answers are not found; {wrong[0].what}")
    lines = [
        f"label {label}: the part of '{context}' that answers '{question}'",
        "task: extractive_qa, by the tokens that begin and end the answer",
    ]
    modalities = {
        "question": _read(question, _tokens(table, question)),
        "context": _read(context, _tokens(table, context)),
    }
    return _proposal(
        table,
        label,
        source,
        kinds,
        {"label": target},
        modalities,
        Spec("extractive_qa", hidden=128, dropout=0.1),
        Spec("co_attention", width=128, depth=1, heads=4, mlp_dim=256),
        "f1",
        lines,
        group=context,
    )


def _items(table: Table, label: str, source: Spec, kinds: dict[str, str], said: bool) -> Proposal:
    """Recommendation, of users and their items in the order of a time."""
    if not said and label.strip().casefold() not in ITEMS:
        raise _No("it is not named as an item is")
    user = _named(table, USERS, label, "the users")
    users = [name for cell in table.column(user) if (name := name_of(cell))]
    if not said and len(users) < _CHOICES_OF_A_USER * len(set(users)):
        raise _No(f"'{user}' has {len(users) / max(len(set(users)), 1):.1f} rows each")
    if source.name == "frame":
        raise ConfigError(
            106,
            "a recommender reads its catalogue again, and a DataFrame is in no file",
            where=f"the label '{label}', items of '{user}'",
            fix="write it to a .csv, .jsonl or .parquet file and give that, or name another task",
        )
    time = next((name for name in _like(table, TIMES) if name not in (user, label)), None)
    rest = [name for name in table.columns if name not in (user, label, time)]
    known = _columns(table, rest, kinds)
    of_items = [one for one in known if _determined(table, label, one.name)]
    of_users = [one for one in known if one not in of_items and _determined(table, user, one.name)]
    described, item_encoders, lines = _chosen(table, schema.propose(of_items))
    about, encoders, more = _chosen(table, schema.propose(of_users))
    width = 64
    if "table" in about:
        own = about["table"].options
        about["table"] = about["table"].replace(categories=(user, *own.get("categories", ())))
        encoders["table"] = Spec("table", depth=0, width=width, dropout=0.0)
    else:
        about["user"] = Spec("table", categories=(user,))
        encoders["user"] = Spec("table", depth=0, width=width, dropout=0.0)
    items = {"items": source, "key": label}
    about["history"] = Spec("items", column="history", max_length=20, separator="|", **items)
    encoders["history"] = Spec("item_sequence", depth=0, width=width, pooling="mean", dropout=0.1)
    towers = Spec("two_tower", width=width, items=item_encoders)
    if set(encoders) - {"user", "table", "history"}:
        towers = towers.replace(fusion=Spec("concat", width=width))
    catalogue = len({name for cell in table.column(label) if (name := name_of(cell))})
    ignored = [n for n in rest if n not in {one.name for one in (*of_items, *of_users)}]
    order = f"in the order of '{time}'" if time else "in the order of the rows"
    told = [
        f"label {label}: {catalogue:,} items of {len(set(users)):,} users ('{user}'), {order}",
        *(f"of an item: {one.name}, {one.kind}" for one in of_items),
        *(f"of a user: {one.name}, {one.kind}" for one in of_users),
        *([f"not learnt from: {', '.join(ignored)}"] if ignored else []),
        "task: recommendation by two towers: the user and the history, the item and what is told "
        "of it",
        "split: the last item of each user is the test, the one before it validation",
        *lines,
        *more,
    ]
    choices = Spec("interactions", source=source, user=user, item=label, time=time)
    epochs = int(np.clip(round(_STEPS * 256 / max(len(table), 1)), 5, 40))
    config = Config(
        data=DataConfig(
            source=choices,
            modalities=about,
            targets={"item": Spec("item", column=label, modalities=described, **items)},
            split=SplitConfig(column="split"),
            batch_size=256,
            eval_batch_size=512,
        ),
        model=ModelConfig(encoders=encoders, fusion=towers),
        task=Spec("recommendation", loss="softmax" if catalogue <= 20_000 else "in_batch"),
        optimizer=OptimizerConfig(learning_rate=3e-3, weight_decay=0.1),
        train=TrainConfig(duration=f"{epochs} epochs", ema_decay=0.99, best_metric="ndcg@10"),
    )
    return Proposal(config, told)


TASKS: Mapping[str, Callable[[Table, str, Spec, dict[str, str], bool], Proposal]] = {
    "token_classification": _spans,
    "extractive_qa": _answers,
    "recommendation": _items,
}
"""The tasks whose labels are told by other columns too."""


def _proposal(
    table: Table,
    label: str,
    source: Spec,
    kinds: dict[str, str],
    targets: dict[str, Spec],
    texts: dict[str, Spec],
    task: Spec,
    fusion: Spec,
    metric: str,
    lines: list[str],
    *,
    group: str,
) -> Proposal:
    """A config of texts whose tokens are judged, with what else the table has beside them."""
    split = schema.split_of(table, label)
    used = {label, split.column, *(one.options["column"] for one in texts.values())}
    rest = _columns(table, [name for name in table.columns if name not in used], kinds)
    more, encoders, reasons = _chosen(table, schema.propose(rest))
    text = Spec(
        "text_transformer", width=128, depth=2, heads=4, mlp_dim=256, norm="pre", dropout=0.1
    )
    more = {name + "_more" if name in texts else name: spec for name, spec in more.items()}
    encoders = {name + "_more" if name in texts else name: one for name, one in encoders.items()}
    if split.column is None:
        split = SplitConfig(group=group)
    epochs = int(np.clip(round(_STEPS * _BATCH / max(len(table), 1)), 5, 40))
    config = Config(
        data=DataConfig(
            source=source,
            modalities={**texts, **more},
            targets=targets,
            split=split,
            batch_size=_BATCH,
            eval_batch_size=64,
        ),
        model=ModelConfig(encoders={**dict.fromkeys(texts, text), **encoders}, fusion=fusion),
        task=task,
        optimizer=OptimizerConfig(learning_rate=1e-3, weight_decay=0.05, warmup="10%"),
        train=TrainConfig(duration=f"{epochs} epochs", best_metric=metric),
    )
    told = [
        *lines,
        *(f"input {name}: {spec}" for name, spec in {**texts, **more}.items()),
        *reasons,
        "encoder of texts: a small transformer from scratch; weights that were pretrained do much "
        "better (model.pretrained)",
    ]
    return Proposal(config, told)


def _chosen(
    table: Table, proposed: Mapping[str, Spec]
) -> tuple[dict[str, Spec], dict[str, Spec], list[str]]:
    """Modalities, their encoders, and why."""
    found = {name: choosing.choose(table, spec) for name, spec in proposed.items()}
    reasons = [f"encoder {name}: {one.encoder.name}, {one.reason}" for name, one in found.items()]
    modalities = {name: one.modality for name, one in found.items()}
    return modalities, {name: one.encoder for name, one in found.items()}, reasons


def _columns(table: Table, names: Iterable[str], kinds: Mapping[str, str]) -> list[Column]:
    """The columns that can be learnt from. Raises ConfigError for a kind that is none."""
    found = []
    for name, kind in kinds.items():
        table.column(name)
        if kind not in KINDS:
            raise ConfigError(
                106, f"kinds['{name}'] = '{kind}' is no kind", fix=nearest(kind, KINDS)
            )
    for name in names:
        told = kinds.get(name)
        known = next((kind for kind in KINDS if kind == told), None)
        one = Column(name, known, "you said so") if known else column_of(table, name)
        if one.kind in choosing.INPUTS:
            found.append(one)
    return found


def _texts(table: Table, label: str, kinds: Mapping[str, str]) -> list[str]:
    """The columns that hold text, the wordiest first."""
    found = []
    for name in table.columns:
        if name != label and kinds.get(name, "text") == "text":
            cells = table.column(name)
            known = [cells[row] for row in sampled(len(table), _LOOKED_AT)]
            strings = [cell for cell in known if isinstance(cell, str) and cell.strip()]
            if strings and len(strings) * 2 > len([cell for cell in known if cell is not None]):
                found.append((sum(map(len, strings)), name))
    return [name for _, name in sorted(found, key=lambda one: -one[0])]


def _is_json(cell: Any) -> bool:
    return isinstance(cell, str) and cell.lstrip().startswith("[") and cell.rstrip().endswith("]")


def _all_fit(table: Table, label: str, text: str, rows: Sequence[int]) -> bool:
    cells, texts = table.column(label), table.column(text)
    try:
        for row in rows:
            read_spans(cells[row], "", text="" if texts[row] is None else str(texts[row]))
    except DataError:
        return False
    return True


def _room(most: int) -> int:
    """For so many spans in the rows that were looked at, room for those in others."""
    return 2 ** math.ceil(math.log2(max(2 * most, 8)))


def _tokens(table: Table, column: str) -> int:
    """Room for the tokens of nearly all texts, of 256 at the most."""
    cells = table.column(column)
    words = [len(str(cells[row] or "").split()) for row in sampled(len(table), _LOOKED_AT)]
    return int(
        np.clip(2 ** math.ceil(math.log2(max(1.5 * np.quantile(words, 0.98), 1) + 2)), 16, 256)
    )


def _read(column: str, length: int) -> Spec:
    halves = (length // 2,) if length > 16 else ()
    return Spec(
        "text", column=column, vocab_size=8000, max_length=length, lengths=halves, offsets=True
    )


def _like(table: Table, names: Sequence[str]) -> list[str]:
    """The columns that have one of the names, in the order of the names."""
    known = {name.strip().casefold().replace(" ", "_"): name for name in table.columns}
    return [known[name] for name in names if name in known]


def _named(table: Table, names: Sequence[str], label: str, what: str) -> str:
    found = [name for name in _like(table, names) if name != label]
    if not found:
        raise _No(f"no column is named like {what} ({', '.join(names[:3])}, ...)")
    return found[0]


def _determined(table: Table, key: str, column: str) -> bool:
    """Whether rows of one key have one value, and there are keys of several rows."""
    of: dict[str, str] = {}
    again = 0
    for cell, value in zip(table.column(key), table.column(column), strict=True):
        name, told = name_of(cell), value if isinstance(value, str) else repr(value)
        if name is not None and value is not None:
            again += name in of
            if of.setdefault(name, told) != told:
                return False
    return again > 0

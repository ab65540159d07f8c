"""Show what is registered: encoders, fusions, tasks, objectives, sources, modalities, targets, ...

Fusions have a level: feature, attention, model or decision; the last are told how to combine by one
of the combinations.

`mmjax list pretrained` shows the model types of Hugging Face folders that can be loaded, `mmjax
list results` the committed results that `mmjax reproduce` measures again.
"""

from __future__ import annotations

import argparse

KINDS = {
    "encoders": "mmjax.encoders:registry",
    "towers": "mmjax.encoders:towers",
    "decoders": "mmjax.encoders:decoders",
    "fusions": "mmjax.models:fusions",
    "combinations": "mmjax.models:combinations",
    "tasks": "mmjax.tasks:registry",
    "adaptations": "mmjax.adapt:registry",
    "objectives": "mmjax.objectives:registry",
    "sources": "mmjax.data.config:sources",
    "modalities": "mmjax.data.config:modalities",
    "targets": "mmjax.data.config:targets",
    "explanations": "mmjax.explain:methods",
    "writers": "mmjax.writers.config:writers",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind", nargs="?", choices=(*KINDS, "pretrained", "results", "all"), default="all"
    )


def run(args: argparse.Namespace) -> int:
    import dataclasses
    import importlib

    from mmjax.writers.console import table

    if args.kind in ("pretrained", "all"):
        _pretrained()
    if args.kind == "results":
        results()
    for kind in KINDS if args.kind == "all" else (args.kind,):
        if kind in ("pretrained", "results"):
            continue
        module, _, name = KINDS[kind].partition(":")
        registry = getattr(importlib.import_module(module), name)
        rows = []
        levels = ["level"] if kind == "fusions" else []
        for entry in registry:
            cls = registry.load(entry)
            first = (cls.__doc__ or "").strip().splitlines()[0]
            settings = [
                one if setting.default is dataclasses.MISSING else f"{one}={setting.default!r}"
                for one, setting in registry.settings(entry).items()
            ]
            level = [getattr(cls, "level", "feature") for _ in levels]
            rows.append([entry, *level, first, ", ".join(settings)])
        table(rows, ["name", *levels, "what it is", "settings"], kind)
    return 0


def _pretrained() -> None:
    """Model types, the torch class whose weights they take, and their parts."""
    from mmjax.pretrained import FAMILIES, find
    from mmjax.writers.console import table

    found = {name: find(name) for name in sorted(FAMILIES)}
    parts = {name for family in found.values() for name in family.parts.values()}
    rows = [
        [name, family.saved_as, ", ".join(family.parts) or "-"]
        for name, family in found.items()
        if name not in parts or family.part_config  # others are no model types of their own
    ]
    table(rows, ["model type", "torch class", "parts (folder#part)"], "pretrained")


def results() -> None:
    """The committed results, from where to where their figures pass, and what it takes to measure
    them again.
    """
    from mmjax.api import reproducing
    from mmjax.writers.console import number, table

    rows = []
    for one in reproducing.results().values():
        bands = [[number(x) for x in (f.mean, *f.band(len(f.values)))] for f in one.figures[:2]]
        figures = "; ".join(
            f"{figure.name} {mean} ({low} to {high})"
            for figure, (mean, low, high) in zip(one.figures, bands, strict=False)
        )
        needs = {"config": "", "program": "the repository", "by hand": "by hand"}[one.kind]
        needs = ", ".join(part for part in (needs, one.needs) if part) or "-"
        rows.append([one.id, one.what, figures, one.date, needs, one.cost or "-"])
    columns = ["id", "what", "committed (passes)", "measured", "needs", "cost"]
    table(rows, columns, "results, for mmjax reproduce ID")

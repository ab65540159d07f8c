"""Show what is registered: encoders, fusions, tasks, sources, modalities, targets, writers."""

from __future__ import annotations

import argparse

KINDS = {
    "encoders": "mmjax.encoders:registry",
    "fusions": "mmjax.fusion:registry",
    "tasks": "mmjax.tasks:registry",
    "sources": "mmjax.data.config:sources",
    "modalities": "mmjax.data.config:modalities",
    "targets": "mmjax.data.config:targets",
    "writers": "mmjax.writers.config:writers",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "all"), default="all")


def run(args: argparse.Namespace) -> int:
    import dataclasses
    import importlib

    from mmjax.writers.console import table

    for kind in KINDS if args.kind == "all" else (args.kind,):
        module, _, name = KINDS[kind].partition(":")
        registry = getattr(importlib.import_module(module), name)
        rows = []
        for entry in registry:
            first = (registry.load(entry).__doc__ or "").strip().splitlines()[0]
            settings = [
                one if setting.default is dataclasses.MISSING else f"{one}={setting.default!r}"
                for one, setting in registry.settings(entry).items()
            ]
            rows.append([entry, first, ", ".join(settings)])
        table(rows, ["name", "what it is", "settings"], kind)
    return 0

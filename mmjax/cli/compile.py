"""Compile a config's training step for hardware that is not there: does it fit, and how fast?

Nothing runs and no row is read unless shapes depend on rows. Topologies: v5e:4x4, v5p:2x2x4,
v6e:4x4, two slices as v5e:4x4*2 (with `pip install 'mmjax[tpu-aot]'`), or cpu:8. The exit code is
1 where the step does not fit.
"""

from __future__ import annotations

import argparse
import os
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a Python file with get_config(), or a config as JSON")
    parser.add_argument("settings", nargs="*", default=[], metavar="dotted.key=value")
    parser.add_argument("--topology", required=True, help="v5e:4x4, v5p:2x2x4, v6e:4x4, cpu:8, ...")
    parser.add_argument(
        "--search", action="store_true", help="also other meshes, remat and micro-batches"
    )
    parser.add_argument("--most", type=int, default=6, help="programs that a search compiles")
    parser.add_argument("--vocabulary", type=int, help="ids of a tokenizer that is not at hand")
    parser.add_argument("--thorough", action="store_true", help="compile with all effort: slow")
    parser.add_argument("--html", metavar="FILE", help="also write a page")
    parser.add_argument("--json", metavar="FILE", help="also write all figures")


def run(args: argparse.Namespace) -> int:
    _environment(args.topology)
    from mmjax.api import compiling
    from mmjax.core.files import write_json
    from mmjax.report import compiled as shown
    from mmjax.report.pages import write_page
    from mmjax.train.config_file import load_config
    from mmjax.writers.console import say, table

    config = load_config(args.config, args.settings)
    given: dict[str, Any] = {"topology": args.topology, "vocabulary": args.vocabulary}
    if args.search:
        found = compiling.search(
            config, **given, most=args.most, told=lambda one: say(shown.line(one))
        )
    else:
        found = [compiling.compile(config, **given, thorough=args.thorough)]
    values = [one.to_json() for one in found]
    for title, columns, rows in shown.tables(values):
        table(rows, columns, title)
    for sentence in shown.sentences(values):
        say(sentence)
    if args.json:
        write_json(args.json, {"config": str(args.config), "steps": values})
    if args.html:
        write_page(args.html, shown.page(str(args.config), values))
        say(f"page    {args.html}")
    return 0 if found[0].fits else 1


def _environment(topology: str) -> None:
    """Before JAX is imported: CPUs only, and as many as are asked for."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    kind, _, count = topology.partition(":")
    if kind == "cpu" and count.isdecimal():
        flag = "--xla_force_host_platform_device_count"
        flags = os.environ.get("XLA_FLAGS", "")
        if flag not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {flag}={count}".strip()

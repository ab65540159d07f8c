"""Say which exported folder is served, by a file that servers read, or go back to the one before.

mmjax promote served.json EXPORTED
mmjax promote served.json --rollback
mmjax serve served.json

The file is replaced at once. Without a folder it is told what is served now.
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pointer", metavar="POINTER", help="a JSON file; made if it is not there")
    parser.add_argument("folder", nargs="?", metavar="EXPORTED")
    parser.add_argument("--rollback", action="store_true", help="serve what was served before")


def run(args: argparse.Namespace) -> int:
    from mmjax.core.errors import ConfigError
    from mmjax.export.pointer import point, pointed, roll_back
    from mmjax.writers.console import say

    if args.rollback and args.folder is not None:
        raise ConfigError(105, "--rollback with a folder", fix="give one of the two")
    if args.rollback:
        say(f"served again  {roll_back(args.pointer)}")
    elif args.folder is not None:
        say(f"served from now on  {point(args.pointer, args.folder)}")
    else:
        say(f"served  {pointed(args.pointer)}")
    return 0

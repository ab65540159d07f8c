"""One example on the command line: a value for each kind of modality, or by name."""

from __future__ import annotations

import argparse

_KINDS = ("text", "image", "audio", "video", "volume", "points")


def configure(parser: argparse.ArgumentParser) -> None:
    """`--text`, `--image` and the like, and `--set NAME=VALUE`."""
    for kind in _KINDS:
        parser.add_argument(f"--{kind}", help=f"the {kind} of a single example")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a column or modality of a single example",
    )


def given(args: argparse.Namespace) -> dict[str, str]:
    """What was given of it. Raises ConfigError for a `--set` without a value."""
    from mmjax.core.errors import ConfigError

    single = {kind: getattr(args, kind) for kind in _KINDS if getattr(args, kind) is not None}
    for one in args.set:
        name, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(105, f"--set {one}", fix="write --set NAME=VALUE")
        single[name] = value
    return single

"""The `mmjax` command: one file a subcommand, each with `configure(parser)` and `run(args)`.

To add one: a file whose docstring's first line is its help, and its name below.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mmjax import __version__
from mmjax.core.errors import MMJaxError

COMMANDS = ("fit", "train", "evaluate", "predict", "embed", "describe", "list")


class _Stderr(logging.Handler):
    """Writes to whatever standard error is now, so that lines land above a live progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code (see `mmjax.core.errors`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(arguments)
    args, rest = parser.parse_known_args(arguments)
    # argparse ends a list of positional arguments at the first option; settings may stand anywhere.
    takes = hasattr(args, "settings")
    unknown = [one for one in rest if not takes or one.startswith("-") or "=" not in one]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        args.settings = [*args.settings, *rest]
    _log(args.verbose)
    _compilation_cache()
    try:
        return args.run(args) or 0
    except MMJaxError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        told = " ".join(str(error).split())[:500]
        print(
            f"mmjax error MMX-900: {type(error).__name__}: {told} | fix: --verbose shows where",
            file=sys.stderr,
        )
        return 1


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mmjax", description="Multimodal learning in JAX.")
    parser.add_argument("--version", action="version", version=f"mmjax {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((a for a in arguments if a in COMMANDS), None)
    for name in COMMANDS:
        module = importlib.import_module(f"mmjax.cli.{name}")
        first = (module.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(name, help=first, description=module.__doc__)
        sub.add_argument("-v", "--verbose", action="store_true", help="log more, show tracebacks")
        if name == asked:
            module.configure(sub)
            sub.set_defaults(run=module.run)
    return parser


def _log(verbose: bool) -> None:
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mmjax").setLevel(logging.INFO if verbose else logging.WARNING)
    # Orbax and Grain log every step of every save through absl.
    logging.getLogger("absl").setLevel(logging.ERROR)


def _compilation_cache() -> None:
    """Keeps compiled programs between runs, unless the environment says where (or not) already."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or "jax" in sys.modules:
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(home / "mmjax" / "compiled")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

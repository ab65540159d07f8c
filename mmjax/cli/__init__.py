"""The `mmjax` command: one file a subcommand, each with `configure(parser)` and `run(args)`.

To add one: a file whose docstring's first line is its help, and its name below.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mmjax import __version__
from mmjax.core.errors import ConfigError, DataError, MMJaxError, TransientError, nearest

_MAY_PASS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN)

COMMANDS = (
    "fit",
    "train",
    "evaluate",
    "predict",
    "embed",
    "search",
    "trends",
    "probe",
    "explain",
    "chat",
    "report",
    "runs",
    "watch",
    "compare",
    "cv",
    "tune",
    "convert",
    "adapter",
    "soup",
    "distill",
    "export",
    "drift",
    "continue",
    "promote",
    "serve",
    "describe",
    "compile",
    "validate",
    "pack",
    "launch",
    "reproduce",
    "list",
)


class _Stderr(logging.Handler):
    """Writes to whatever standard error is now, so that lines land above a live progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Refuses in one line, as every other error is told."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(100, message, fix=f"see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code (see `mmjax.core.errors`)."""
    verbose = False
    try:
        args = _parse(sys.argv[1:] if arguments is None else [*arguments])
        verbose = args.verbose
        _log(verbose)
        _compilation_cache()
        return args.run(args) or 0
    except MMJaxError as error:
        print(error, file=sys.stderr)
        return _leave(error.exit_code)
    except KeyboardInterrupt:
        print("mmjax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _leave(_told(error, verbose))
    except Exception as error:
        if verbose:
            traceback.print_exc()
        lost = _lost_peer(error)
        if lost is not None:
            print(lost, file=sys.stderr)
            return _leave(lost.exit_code)
        told = " ".join(str(error).split())[:500]
        print(
            f"mmjax error MMX-900: {type(error).__name__}: {told} | fix: --verbose shows where",
            file=sys.stderr,
        )
        return _leave(1)


def _lost_peer(error: Exception) -> MMJaxError | None:
    """What an error means where this is one process of several, and another has gone."""
    distributed = sys.modules.get("mmjax.parallel.distributed")
    return None if distributed is None else distributed.lost_peer(error)


def _leave(code: int) -> int:
    """One process of several does not wait for the others when it fails."""
    distributed = sys.modules.get("mmjax.parallel.distributed")
    if distributed is None:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    return distributed.leave(code)


def _told(error: OSError, verbose: bool) -> int:
    """One line about a file or folder that the system refuses; 75 where a retry may help."""
    if verbose:
        traceback.print_exc()
    what = (error.strerror or type(error).__name__).lower()
    # Of a renaming the second name is the one that was asked for.
    where = str(error.filename2 or error.filename or "")
    known: MMJaxError
    if error.errno in _MAY_PASS:
        known = TransientError(710, what, where=where, fix="free space or restore it, then retry")
    else:
        known = DataError(310, what, where=where, fix="name a path that can be read or written")
    print(known, file=sys.stderr)
    return known.exit_code


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    asked = next((one for one in arguments if not one.startswith("-")), None)
    if asked is not None and asked not in COMMANDS:
        raise ConfigError(100, f"no command '{asked}'", fix=nearest(asked, COMMANDS))
    parser = _parser(asked)
    args, rest = parser.parse_known_args(arguments)
    # Settings may also stand behind options; argparse takes those of one place only.
    if any(one.startswith("-") for one in rest) or (rest and not hasattr(args, "settings")):
        raise ConfigError(
            100,
            f"'{' '.join(rest)}' was not understood",
            fix=f"see mmjax {args.command} --help",
        )
    if rest:
        args.settings = [*args.settings, *rest]
    return args


def _parser(asked: str | None) -> argparse.ArgumentParser:
    parser = _Parser(prog="mmjax", description="Multimodal learning in JAX.")
    parser.add_argument("--version", action="version", version=f"mmjax {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"mmjax.cli.{name}")
        first = (module.__doc__ or "").strip().splitlines()[0]
        sub = subparsers.add_parser(
            name,
            help=first,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
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

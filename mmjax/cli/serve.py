"""Serve an exported folder, a pointer to one, or a run over HTTP.

mmjax serve OUT
mmjax serve OUT --port 8080 --max-batch 16 --max-delay-ms 2
mmjax serve OUT --host 0.0.0.0 --token-file token.txt --certificate cert.pem --key key.pem

The Open Inference Protocol v2 is at /v2, a plain way to ask at /v1/predict, a page for people at /,
the paths at /docs, and metrics at /metrics. Nothing but this machine may ask, unless there are
tokens. SIGTERM ends it after the requests that it has accepted. If it dies it is started again;
SIGHUP ends it so and starts it again, which serves what a pointer names by then.
"""

from __future__ import annotations

import argparse
from typing import Any

_SETTINGS: dict[str, tuple[str, type, str]] = {
    "host": ("", str, "the address to listen on"),
    "port": ("", int, "0 takes any that is free"),
    "max_batch": ("engine", int, "items of a batch; as many as the program takes by default"),
    "max_delay_ms": ("engine", float, "how long an item waits for others"),
    "max_queue": ("engine", int, "items that may wait; more are refused at once"),
    "deadline_s": ("engine", float, "how long a request may take in all"),
    "filter": ("engine", str, "module:function that may change or withhold an answer"),
    "prepare_threads": ("engine", int, "threads that read pictures, sounds and texts"),
    "max_body_bytes": ("limits", int, "bytes of a request after decompression"),
    "max_rows": ("limits", int, "items of a request"),
    "header_s": ("limits", float, "how long a client may take for its headers, or idle"),
    "body_s": ("limits", float, "how long a client may take for its body"),
    "certificate": ("", str, "a certificate as PEM; with its key the server speaks TLS"),
    "key": ("", str, "the certificate's private key as PEM"),
    "grace_s": ("", float, "how long accepted requests may take after SIGTERM"),
    "linger_s": ("", float, "how long requests are still taken after SIGTERM"),
    "log_lines_s": ("", float, "lines of log a second"),
}
"""Options that are fields of the settings, with the part that they are in."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="OUT", help="what mmjax export wrote, a pointer to it, or a run"
    )
    for name, (_, kind, said) in _SETTINGS.items():
        metavar = {int: "N", float: "X", str: "TEXT"}[kind]
        parser.add_argument(_option(name), type=kind, metavar=metavar, help=said)
    parser.add_argument("--token-file", help="a file with a bearer token a line")
    parser.add_argument(
        "--host-name", action="append", default=[], help="a name that browsers may ask under"
    )
    parser.add_argument(
        "--image-host", action="append", default=[], help="a host that pictures are fetched from"
    )
    parser.add_argument("--open-metrics", action="store_true", help="metrics need no token")
    parser.add_argument("--no-page", action="store_true", help="nothing at /")
    parser.add_argument(
        "--no-restart", action="store_true", help="serve in this process, and end with it"
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from pathlib import Path

    from mmjax.core.extras import require
    from mmjax.writers.console import say

    for package in ("fastapi", "granian", "prometheus_client", "python_multipart"):
        require(package, "serve")
    config = _config(args)
    if not args.no_restart:
        from mmjax.serve.ports import free_port
        from mmjax.serve.supervisor import supervise

        port = free_port(config.host, config.port)
        # The same package again, whatever lies in the folder where the command was given.
        here = Path.cwd() == Path(__file__).resolve().parents[2]
        python = [sys.executable, *([] if here else ["-P"]), "-m", "mmjax", "serve"]
        return supervise([*python, *_arguments(args), "--port", str(port), "--no-restart"])

    from mmjax.serve.server import serve
    from mmjax.serve.supervisor import end_with_parent

    end_with_parent()
    return serve(
        lambda: _program(args.folder),
        config,
        told=lambda url: say(f"serving {args.folder}  {url}  ({url}/docs, {url}/metrics)"),
    )


def _program(folder: str) -> Any:
    import tempfile
    from pathlib import Path

    import jax

    from mmjax.checkpoint.run_folder import RunFolder
    from mmjax.export import load
    from mmjax.export.pointer import pointed

    # All shapes are compiled before ready, so that many small ones hold a second start up as well.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if Path(folder).is_file():
        return load(pointed(folder))
    if not RunFolder(Path(folder)).exists():
        return load(folder)
    from mmjax.api.exporting import export

    with tempfile.TemporaryDirectory() as made:
        name = Path(folder).resolve().name
        out = export(folder, Path(made) / "out", platforms=_here(), measure=False, name=name)
        program = load(out)
        # Its files are read as each bucket is compiled, and are gone afterwards.
        program.warm_up()
        return program


def _here() -> tuple[str, ...]:
    import jax

    platform = jax.default_backend()
    return ({"gpu": "cuda"}.get(platform, platform),)


def _config(args: argparse.Namespace) -> Any:
    from pathlib import Path

    from mmjax.serve.config import EngineConfig, Limits, ServeConfig

    given: dict[str, dict[str, Any]] = {"": {}, "engine": {}, "limits": {}}
    for name, (part, _, _) in _SETTINGS.items():
        if getattr(args, name) is not None:
            given[part][name] = getattr(args, name)
    tokens: tuple[str, ...] = ()
    if args.token_file is not None:
        text = Path(args.token_file).read_text(encoding="utf-8")
        tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    return ServeConfig(
        **given[""],
        tokens=tokens,
        hosts=tuple(args.host_name),
        open_metrics=args.open_metrics,
        page=not args.no_page,
        engine=EngineConfig(**given["engine"]),
        limits=Limits(**given["limits"], image_hosts=tuple(args.image_host)),
    )


def _arguments(args: argparse.Namespace) -> list[str]:
    """The command line again, without the port."""
    found = [args.folder]
    for name in _SETTINGS:
        value = getattr(args, name)
        if value is not None and name != "port":
            found += [_option(name), str(value)]
    if args.token_file is not None:
        found += ["--token-file", args.token_file]
    for option, values in (("--host-name", args.host_name), ("--image-host", args.image_host)):
        for value in values:
            found += [option, value]
    flags = {"--open-metrics": args.open_metrics, "--no-page": args.no_page}
    flags["--verbose"] = args.verbose
    return [*found, *(name for name, is_set in flags.items() if is_set)]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")

"""A port to listen on."""

from __future__ import annotations

import socket

from mmjax.core.errors import ConfigError


def free_port(host: str, port: int) -> int:
    """The port, which must be free; any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            where, fix = f"{host}:{port}", "--port 0 takes any that is free"
            raise ConfigError(
                187, f"no listening: {error.strerror}", where=where, fix=fix
            ) from error
        return probe.getsockname()[1]

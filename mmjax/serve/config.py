"""Settings of serving: how items are batched, what a request may be, and where it is listened."""

from __future__ import annotations

import dataclasses
import ipaddress

from mmjax.core.errors import ConfigError


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(187, f"{name}={value}", fix=f"give at least {least}")


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """How many items wait, for how long, and how many go through the model together."""

    max_batch: int | None = None
    """Items of a batch at most; as many as the program takes if None."""
    max_delay_ms: float = 2.0
    """How long an item waits for others while the model is free; up to ten times as long for those
    that have arrived and are being read."""
    max_queue: int = 256
    """Items that are accepted and not yet in the model; more are refused at once."""
    deadline_s: float = 10.0
    """How long an item may take in all, where its request names nothing shorter."""
    failures: int = 5
    """Batches that fail one after the other until the server says that it is not ready."""
    stuck_s: float = 120.0
    """A batch that takes longer makes the server say that it is not live."""
    prepare_threads: int = 2
    """Threads that read pictures and sounds and tokenise texts."""
    max_streams: int = 4
    """Texts that are written piece by piece at the same time."""
    filter: str | None = None
    """A function that may change or withhold an answer, as `filtering.py` says."""

    def __post_init__(self) -> None:
        for name, least in (
            *(("max_queue", 1), ("failures", 1), ("prepare_threads", 1), ("max_streams", 0)),
            *(("max_delay_ms", 0), ("deadline_s", 0.001), ("stuck_s", 1)),
        ):
            _at_least(name, getattr(self, name), least)
        if self.max_batch is not None:
            _at_least("max_batch", self.max_batch, 1)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may be before anything is decoded. Media have limits of their own."""

    max_body_bytes: int = 32 << 20
    """Bytes of a body after it is decompressed."""
    max_buffered_bytes: int = 512 << 20
    """Bytes of all bodies together that are held while they are read."""
    max_rows: int = 64
    """Items of one request."""
    max_fields: int = 512
    """Parts of a multipart body, and keys of an item."""
    header_s: float = 5.0
    """How long a client may take for a request's headers, and may idle between requests."""
    body_s: float = 10.0
    """How long a client may take for a request's body."""
    image_hosts: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from, by https alone. None by default."""
    fetch_s: float = 5.0
    """How long fetching one may take."""

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_buffered_bytes", "max_rows", "max_fields"):
            _at_least(name, getattr(self, name), 1)
        for name in ("header_s", "body_s", "fetch_s"):
            _at_least(name, getattr(self, name), 0.1)


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """A server on one machine."""

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: tuple[str, ...] = ()
    """Bearer tokens, any of which opens everything; none are asked for if empty."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may come under beside this machine's own, where no token is asked
    for: a page of another site cannot read a server on loopback through a name of its own."""
    certificate: str | None = None
    """A file of PEM, the server's own certificate first: it speaks TLS 1.2 and later alone.

    Clients that begin no handshake are not closed, as those are that send no headers: where
    strangers come, put a proxy in front.
    """
    key: str | None = None
    """The file of PEM that holds the certificate's private key."""
    open_metrics: bool = False
    """Whether `/metrics` needs no token."""
    page: bool = True
    """Whether `/` is a page for people."""
    linger_s: float = 0.0
    """How long requests are still taken after SIGTERM, while ready already says no: the time that a
    load balancer takes to notice."""
    grace_s: float = 25.0
    """How long accepted requests may take after SIGTERM."""
    log_lines_s: float = 50.0
    """Lines of log a second; what is beyond them is counted."""
    engine: EngineConfig = EngineConfig()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(187, f"port {self.port}", fix="give 0 to 65535")
        for name in ("linger_s", "grace_s", "log_lines_s"):
            _at_least(name, getattr(self, name), 0)
        if (self.certificate is None) != (self.key is None):
            what = "a certificate without its key" if self.key is None else "a key alone"
            raise ConfigError(190, what, fix="--certificate FILE --key FILE")
        if not self.tokens and not is_loopback(self.host):
            raise ConfigError(
                188,
                f"host {self.host} is open to others, and there is no token",
                fix="--token-file FILE, or --host 127.0.0.1",
            )
        for token in self.tokens:
            if len(token) < 16 or not token.isascii() or not token.isprintable():
                raise ConfigError(
                    188,
                    "a token is shorter than 16 characters, or has others than ASCII",
                    fix="python -c 'import secrets; print(secrets.token_urlsafe(32))' > FILE",
                )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

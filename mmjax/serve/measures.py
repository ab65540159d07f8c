"""Prometheus metrics of a server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric

from mmjax import __version__
from mmjax.core.errors import code_name
from mmjax.serve.engine import Engine
from mmjax.serve.watching import Watcher

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measures(Watcher):
    """Counts what an engine and its front do."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter(
            "mmjax_requests", "Requests by route and status.", ["route", "status"], registry=r
        )
        self.request_seconds = Histogram(
            "mmjax_request_seconds",
            "From headers to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=r,
        )
        self._stages = Histogram(
            "mmjax_stage_seconds",
            "Parts of an item's way: read, prepare, queue, run.",
            ["stage"],
            buckets=_SECONDS,
            registry=r,
        )
        self._batch = Histogram(
            "mmjax_batch_size", "Items of a batch before padding.", buckets=_ROWS, registry=r
        )
        self._rows = Counter("mmjax_rows", "Rows computed.", ["what"], registry=r)
        self._tokens = Counter("mmjax_tokens", "Tokens computed.", ["what"], registry=r)
        self._shed = Counter(
            "mmjax_shed", "Items refused, expired or left by their client.", ["reason"], registry=r
        )
        self.shed_seconds = Histogram(
            "mmjax_shed_seconds",
            "From the headers of a request that is refused to its answer.",
            buckets=_SECONDS,
            registry=r,
        )
        self.loop_late = Histogram(
            "mmjax_loop_late_seconds",
            "How late the event loop was for a call, ten times a second.",
            buckets=_SECONDS,
            registry=r,
        )
        self._failed = Counter("mmjax_item_errors", "Items that failed.", ["code"], registry=r)
        self.lines_dropped = Counter("mmjax_log_lines_dropped", "Lines not written.", registry=r)

    def follow(self, engine: Engine) -> None:
        """Reads an engine's queue and state whenever the metrics are read."""
        for name, said, read in (
            ("mmjax_queue_items", "Items accepted, not yet in the model.", lambda: engine.waiting),
            ("mmjax_queue_limit", "Items that may wait.", lambda: engine.config.max_queue),
            ("mmjax_active_requests", "Accepted, not answered.", lambda: engine.active),
            ("mmjax_ready", "1 if ready.", lambda: engine.ready),
        ):
            Gauge(name, said, registry=self.registry).set_function(read)
        self.registry.register(_OfProgram(engine))

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def stage(self, name: str, seconds: float) -> None:
        self._stages.labels(name).observe(seconds)

    def batch(self, rows: int, padded: int, tokens: int, padded_tokens: int) -> None:
        self._batch.observe(rows)
        self._rows.labels("real").inc(rows)
        self._rows.labels("padding").inc(padded - rows)
        self._tokens.labels("real").inc(tokens)
        self._tokens.labels("padding").inc(max(0, padded_tokens - tokens))

    def shed(self, reason: str, rows: int) -> None:
        self._shed.labels(reason).inc(rows)

    def failed(self, code: int) -> None:
        self._failed.labels(code_name(code)).inc()


class _OfProgram:
    """What is known of the program once it is loaded."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        if self._engine.state == "loading":
            return
        program = self._engine.program
        compiles = CounterMetricFamily("mmjax_compiles", "Shapes compiled, or read from a cache.")
        compiles.add_metric([], program.compiles)
        yield compiles
        about = Metric("mmjax_model", "What is served.", "gauge")
        labels = {"model": program.name, "digest": program.digest, "version": __version__}
        about.add_sample("mmjax_model", labels, 1)
        yield about

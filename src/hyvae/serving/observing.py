"""What operators see: structured logs without personal data, and metrics for Prometheus."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from logging.handlers import MemoryHandler
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger("hyvae.serving")
#: a folder that the processes of a service share, where there are several
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_MOST_LINES = 1_000


class Metrics:
    """Counters of one process, which are summed over all where a folder is shared."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.registry, "namespace": "hyvae"}
        self.requests = Counter("requests", "Requests answered.", ("route", "method", "status"), **kept)
        self.seconds = Histogram("request_seconds", "Time to an answer.", ("route",), buckets=_SECONDS, **kept)
        self.batches = Histogram("batch_questions", "Questions answered together.", buckets=_SIZES, **kept)
        self.events = Counter("events_stored", "Rating events stored.", **kept)
        self.reloads = Counter("reloads", "Reloads of the run.", ("result",), **kept)
        self.loaded = Gauge("run_loaded_timestamp_seconds", "When the run was loaded.", multiprocess_mode="min", **kept)

    def exposition(self) -> bytes:
        """In Prometheus's text format."""
        if SHARED_FOLDER not in os.environ:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        MultiProcessCollector(merged)
        return generate_latest(merged)


class JsonFormatter(logging.Formatter):
    """A line of JSON a record; what `extra` gave as ``facts`` beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """As JSON."""
        facts: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "process": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            facts["trace"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=True)


class LineHandler(MemoryHandler):
    """Lines to stderr, many in one write: one for each would let another thread run, and the answer wait for it.

    Warnings are written at once, the others when `flush` is called, and at the end.
    """

    def __init__(self) -> None:
        super().__init__(_MOST_LINES, flushLevel=logging.WARNING)

    def flush(self) -> None:
        """Write what there is."""
        self.acquire()
        records, self.buffer = self.buffer, []
        self.release()
        # nobody may be there any more to read
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("".join(f"{self.format(record)}\n" for record in records))
            sys.stderr.flush()


def log_to_stderr() -> LineHandler:
    """Write what the service and its server say as JSON lines."""
    handler = LineHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("hyvae.serving", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "hyvae.serving" else logging.WARNING)
    return handler

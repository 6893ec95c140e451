"""`/metrics`, `/healthz` and `/readyz` over HTTP."""

import hmac
import json
import os
import socket
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from adapters.exporter.database import DatabaseCollector
from adapters.exporter.folder import is_alive
from adapters.exporter.probes import liveness_payload, readiness_payload
from adapters.settings import Settings


class BuildInfo(Collector):
    """The version that answers."""

    def collect(self) -> list[GaugeMetricFamily]:
        """Return headrace_build_info, always 1."""
        family = GaugeMetricFamily("headrace_build_info", "Version of Headrace.", labels=["version"])
        family.add_metric([_version()], 1)
        return [family]


class Handler(BaseHTTPRequestHandler):
    """Three read-only pages; anything else is a 404."""

    timeout = 10  # a client that never finishes its request

    def __init__(self, settings: Settings, folder: Path, *args: Any) -> None:
        self._settings = settings
        self._folder = folder
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a GET request."""
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        page = pages.get(self.path.partition("?")[0])
        if page is None:
            self._send_json(404, {"error": f"not found; there are {', '.join(pages)}"})
        else:
            page()

    def log_message(self, *_: Any) -> None:
        """Log no request: probes come every few seconds."""

    def _metrics(self) -> None:
        if not self._is_allowed():
            self._send_json(403, {"error": "send the header `Authorization: Bearer METRICS_TOKEN`"})
            return
        self._send(200, render_metrics(self._settings, self._folder), CONTENT_TYPE_LATEST)

    def _healthz(self) -> None:
        payload = liveness_payload(self._folder)
        self._send_json(200 if payload["status"] == "alive" else 503, payload)

    def _readyz(self) -> None:
        payload = readiness_payload(self._settings)
        self._send_json(200 if payload["status"] == "ready" else 503, payload)

    def _is_allowed(self) -> bool:
        if not self._settings.metrics_require_auth or self._settings.metrics_token is None:
            return True
        sent = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        wanted = f"Bearer {self._settings.metrics_token.get_secret_value()}".encode()
        return hmac.compare_digest(sent, wanted)

    def _send_json(self, status: int, payload: dict[str, Any]) -> None:
        self._send(status, json.dumps(payload).encode(), "application/json")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server6(ThreadingHTTPServer):
    """A server at an IPv6 address."""

    address_family = socket.AF_INET6


def open_server(settings: Settings, folder: Path) -> ThreadingHTTPServer:
    """Bind the port. Raises OSError when it is taken."""
    kind = _Server6 if ":" in settings.metrics_host else ThreadingHTTPServer
    server = kind((settings.metrics_host, settings.metrics_port), partial(Handler, settings, folder))
    server.daemon_threads = True
    return server


def render_metrics(settings: Settings, folder: Path) -> bytes:
    """Add up the workers' files and ask the database, in one fresh registry."""
    forget_dead_workers(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(BuildInfo())
    if not settings.is_sqlite:
        registry.register(DatabaseCollector(settings.database_url.get_secret_value()))
    return generate_latest(registry)


def forget_dead_workers(folder: Path) -> None:
    """Drop the live gauges of processes that are gone: nobody else does after a kill -9."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not is_alive(pid):
            os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(folder))
            mark_process_dead(pid, path=str(folder))  # type: ignore[no-untyped-call]


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "unknown"

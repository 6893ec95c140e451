"""Run the exporter of one `dramatiq` master: `python -m adapters.exporter --folder F`."""

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from threading import Thread
from time import sleep

from adapters.exporter.folder import exporter_lock, is_master_alive
from adapters.exporter.server import open_server
from adapters.settings import load_settings

WATCH_SECONDS = 0.5
EXIT_PORT_TAKEN = 1


def main() -> int:
    """Serve until the master is gone; return the exit code."""
    arguments = _parse()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a drain must not turn the lights off; the master's end does
    folder: Path = arguments.folder
    with exporter_lock(folder) as is_mine:
        return _serve(folder) if is_mine else 0


def _serve(folder: Path) -> int:
    settings = load_settings()
    try:
        server = open_server(settings, folder)
    except OSError as error:
        place = f"{settings.metrics_host}:{settings.metrics_port}"
        sys.stderr.write(f"The metrics exporter cannot listen on {place}: {error}. Set METRICS_PORT to another one.\n")
        return EXIT_PORT_TAKEN
    Thread(target=server.serve_forever, daemon=True).start()
    while is_master_alive(folder):
        sleep(WATCH_SECONDS)
    server.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    os._exit(main())  # threads that answer a last request must not hold the process

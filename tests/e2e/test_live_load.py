"""A thousand clients of one process: nothing is lost, doubled or late. `python -m benchmarks.live` measures more."""

import argparse

from benchmarks.live import measure


def test_a_thousand_clients_are_kept_up_with() -> None:
    figures = measure(argparse.Namespace(clients=1000, workspaces=20, rate=20, seconds=5))

    assert figures["deliveries"] == 100 * 50
    assert (figures["missing"], figures["doubled_or_unordered"], figures["closed_by_server"]) == (0, 0, 0)
    assert figures["lag_ms"]["p50"] < 1500  # on a machine that does everything else as well

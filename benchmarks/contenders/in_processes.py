"""A plain script: the paths it is sent go to a pool of processes. No queue, no ledger, no sandbox."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor


class Script:
    """Runs a body over paths in some processes; the first call starts them."""

    def __init__(self, body: Callable[[str], None], warm_up: Callable[[], None], processes: int) -> None:
        self._pool = ProcessPoolExecutor(processes, initializer=warm_up)
        self._body = body

    def send(self, path: str, **_: object) -> None:
        """Hand the path over; an error in the body ends the process, and with it the run."""
        self._pool.submit(self._body, path).add_done_callback(complain)


def complain(future: object) -> None:
    """Print the error that a future ended with, if it did."""
    error = future.exception()  # type: ignore[attr-defined]
    if error is not None:
        print(f"the body failed: {error!r}", flush=True)

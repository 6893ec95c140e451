"""The process that sends: `python -m benchmarks.producer MODULE`. One order a line in, one answer a line out.

`{"first": 0, "count": 100}` sends that many no-op jobs, `{"path": ..., "workspace": 0}` one document. The answer says
when it began and ended (CLOCK_MONOTONIC, nanoseconds) and how long each call took.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    contender = importlib.import_module(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(obey(contender, json.loads(line))), flush=True)


def obey(contender: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Send what is ordered."""
    if "path" in order:
        return timed([lambda: contender.send_document(order["path"], workspace=order["workspace"])])
    numbers = range(order["first"], order["first"] + order["count"])
    return timed([lambda number=number: contender.send_noop(number) for number in numbers])


def timed(calls: list[Callable[[], object]]) -> dict[str, Any]:
    """Call one after another."""
    began, seconds = time.monotonic_ns(), []
    for call in calls:
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    return {"began": began, "ended": time.monotonic_ns(), "seconds": seconds}


if __name__ == "__main__":
    main()
